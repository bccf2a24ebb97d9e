/* SPDX-License-Identifier: GPL-2.0-only */
/* Limits of flows, frames and memory: module parameters, which hold for each network namespace. */
#ifndef CTINJECT_LIMITS_H
#define CTINJECT_LIMITS_H

#include <linux/types.h>

#include "pernet.h"

struct net;

extern unsigned int limits_frames;

bool limits_serve(const struct net *net);
bool limits_take(const struct net *net, enum limits_resource what, long amount);
void limits_give(const struct net *net, enum limits_resource what, long amount);
long limits_memory(const struct net *net);

#endif

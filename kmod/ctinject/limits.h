/* SPDX-License-Identifier: GPL-2.0-only */
/* Limits of flows, frames and memory, for the whole host: module parameters. */
#ifndef CTINJECT_LIMITS_H
#define CTINJECT_LIMITS_H

#include <linux/types.h>

extern unsigned int limits_flows;
extern unsigned int limits_frames;

bool limits_charge(long bytes);
long limits_memory(void);

#endif

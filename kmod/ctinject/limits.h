/* SPDX-License-Identifier: GPL-2.0-only */
/* Limits of flows, frames and memory: module parameters, which hold for each network namespace. */
#ifndef CTINJECT_LIMITS_H
#define CTINJECT_LIMITS_H

#include <linux/atomic.h>
#include <linux/types.h>

struct net;

/* What an account counts: flows, and bytes of them and their frames. */
enum limits_resource {
	LIMITS_FLOWS,
	LIMITS_BYTES,
	LIMITS_MAX
};

/* What is in use, in a namespace or in several that share an account. */
struct limits_account {
	atomic_long_t used[LIMITS_MAX];
};

extern unsigned int limits_frames;

bool limits_serve(const struct net *net);
bool limits_take(const struct net *net, enum limits_resource what, long amount);
void limits_give(const struct net *net, enum limits_resource what, long amount);
long limits_memory(const struct net *net);

#endif

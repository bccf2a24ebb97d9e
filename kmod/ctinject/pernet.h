/* SPDX-License-Identifier: GPL-2.0-only */
/* What a network namespace has of its own. */
#ifndef CTINJECT_PERNET_H
#define CTINJECT_PERNET_H

#include <linux/atomic.h>
#include <linux/netfilter.h>
#include <linux/workqueue.h>

struct signing_keys;
struct stats;

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

/* How many port numbers there are. */
#define PORTS 65536

/**
 * struct ctinject_net - what a network namespace has of its own
 * @net: the namespace
 * @arming: work that registers the hooks
 * @armed: the hooks are registered
 * @used: hooks were registered at some time, perhaps not all
 * @gone: the namespace is ending, and gets no hooks any more
 * @ops: the hooks
 * @server_ports: a bit for each port from which replies can come: set when a selected SYN goes to
 *	that port. A packet from any other port needs no look-up
 * @flows: number of flows in the table; while it is 0, replies are not looked up
 * @account: what all flows use, also those that are being made or freed
 * @keys: signing keys, or NULL
 * @counters: one struct for each CPU
 */
struct ctinject_net {
	struct net *net;
	struct work_struct arming;
	bool armed, used, gone;
	struct nf_hook_ops *ops;
	unsigned long *server_ports;
	atomic_t flows;
	struct limits_account account;
	struct signing_keys __rcu *keys;
	struct stats __percpu *counters;
};

extern unsigned int pernet_id;

struct ctinject_net *pernet_of(const struct net *net);

/* Whether every packet of this namespace passes the hooks. */
static inline bool pernet_armed(const struct ctinject_net *cn)
{
	return smp_load_acquire(&cn->armed);	/* pairs with arm() */
}

/*
 * Asks for the hooks from a place that must not sleep. They come later; if registering them fails,
 * the next packet asks again.
 */
static inline void pernet_want_hooks(struct ctinject_net *cn)
{
	schedule_work(&cn->arming);
}

#endif

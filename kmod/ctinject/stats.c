// SPDX-License-Identifier: GPL-2.0-only
/* Counters, for each network namespace. */

#include <linux/netfilter.h>
#include <linux/percpu.h>

#include "pernet.h"
#include "stats.h"

void stats_add(const struct net *net, enum stat_id which, u64 n)
{
	this_cpu_add(pernet_of(net)->counters->count[which], n);
}

unsigned int stats_drop(const struct net *net, enum stat_id reason)
{
	stats_inc(net, reason);
	return NF_DROP;
}

int stats_net_init(struct net *net)
{
	struct ctinject_net *cn = pernet_of(net);

	cn->counters = alloc_percpu(struct stats);
	return cn->counters ? 0 : -ENOMEM;
}

void stats_net_exit(struct net *net)
{
	free_percpu(pernet_of(net)->counters);
}

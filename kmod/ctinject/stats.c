// SPDX-License-Identifier: GPL-2.0-only
/* Counters, per network namespace: /proc/net/ctinject, a line `name value` each. */

#include <linux/netfilter.h>
#include <linux/percpu.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <net/net_namespace.h>

#include "ctinject.h"
#include "flow.h"
#include "hooks.h"

static const char *const names[STAT_MAX] = {
	[STAT_ctframe_flows] = "ctframe_flows",
	[STAT_ctframe_frames] = "ctframe_frames",
	[STAT_ctframe_frames_again] = "ctframe_frames_again",
	[STAT_ctproxy_headers] = "ctproxy_headers",
	[STAT_ctproxy_headers_again] = "ctproxy_headers_again",
	[STAT_udp_ctframe] = "udp_ctframe",
	[STAT_udp_ctproxy] = "udp_ctproxy",
	[STAT_untouched] = "untouched",
	[STAT_options_cleared] = "options_cleared",
	[STAT_urgent_cleared] = "urgent_cleared",
	[STAT_gso_converted] = "gso_converted",
	[STAT_linearized] = "linearized",
	[STAT_swallowed] = "swallowed",
	[STAT_replies_elsewhere] = "replies_elsewhere",
	[STAT_cookies_spoiled] = "cookies_spoiled",
	[STAT_icmp_corrected] = "icmp_corrected",
	[STAT_drop_unarmed] = "drop_unarmed",
	[STAT_drop_no_syn] = "drop_no_syn",
	[STAT_drop_early] = "drop_early",
	[STAT_drop_below] = "drop_below",
	[STAT_drop_ack] = "drop_ack",
	[STAT_drop_behind_fin] = "drop_behind_fin",
	[STAT_drop_synack] = "drop_synack",
	[STAT_drop_signature_option] = "drop_signature_option",
	[STAT_drop_flow_limit] = "drop_flow_limit",
	[STAT_drop_memory] = "drop_memory",
	[STAT_drop_frame_limit] = "drop_frame_limit",
	[STAT_drop_sequence] = "drop_sequence",
	[STAT_drop_no_key] = "drop_no_key",
	[STAT_drop_build] = "drop_build",
	[STAT_drop_malformed] = "drop_malformed",
	[STAT_drop_mtu] = "drop_mtu",
	[STAT_drop_gso] = "drop_gso",
	[STAT_drop_unloading] = "drop_unloading",
};

void stats_add(const struct net *net, enum stat_id which, u64 n)
{
	this_cpu_add(ctinject_pernet(net)->counters->count[which], n);
}

unsigned int stats_drop(const struct net *net, enum stat_id reason)
{
	stats_inc(net, reason);
#if CTINJECT_BUG == 3
	if (reason >= STAT_drop_flow_limit)
		return NF_ACCEPT;
#endif
	return NF_DROP;
}

static int stats_show(struct seq_file *m, void *unused)
{
	struct net *net = seq_file_single_net(m);
	struct ctinject_net *cn = ctinject_pernet(net);
	unsigned int i;
	int err, cpu;

	err = hooks_arm(net);
	if (err)
		return err;
	seq_printf(m, "flows %d\n", atomic_read(&cn->flows));
	/* Of all namespaces: max_memory bounds this sum. */
	seq_printf(m, "memory %ld\n", flow_memory());
	for (i = 0; i < STAT_MAX; i++) {
		u64 sum = 0;

		for_each_possible_cpu(cpu)
			sum += READ_ONCE(per_cpu_ptr(cn->counters, cpu)->count[i]);
		seq_printf(m, "%s %llu\n", names[i], sum);
	}
	return 0;
}

int stats_net_init(struct net *net)
{
	struct ctinject_net *cn = ctinject_pernet(net);

	cn->counters = alloc_percpu(struct stats);
	if (!cn->counters)
		return -ENOMEM;
	if (!proc_create_net_single("ctinject", 0444, net->proc_net, stats_show, NULL)) {
		free_percpu(cn->counters);
		return -ENOMEM;
	}
	return 0;
}

void stats_net_exit(struct net *net)
{
	remove_proc_entry("ctinject", net->proc_net);
	free_percpu(ctinject_pernet(net)->counters);
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * The file /proc/net/ctinject: the counters of a network namespace, one line `name value` for each.
 * Everybody may read it. The first reading by somebody who may administer the namespace also
 * registers the hooks there; anybody else must not be able to make its packets pass them.
 */

#include <linux/capability.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <net/net_namespace.h>

#include "hooks.h"
#include "limits.h"
#include "pernet.h"
#include "procfs.h"
#include "stats.h"

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
	[STAT_drop_user_namespace] = "drop_user_namespace",
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

static int show(struct seq_file *m, void *unused)
{
	struct net *net = seq_file_single_net(m);
	struct ctinject_net *cn = pernet_of(net);
	unsigned int i;
	int err, cpu;

	/* Who has opened the file, not who reads it: it may have been handed on. */
	if (file_ns_capable(m->file, net->user_ns, CAP_NET_ADMIN)) {
		err = hooks_arm(net);
		if (err)
			return err;
	}
	seq_printf(m, "flows %d\n", atomic_read(&cn->flows));
	seq_printf(m, "memory %ld\n", limits_memory(net));
	for (i = 0; i < STAT_MAX; i++) {
		u64 sum = 0;

		for_each_possible_cpu(cpu)
			sum += READ_ONCE(per_cpu_ptr(cn->counters, cpu)->count[i]);
		seq_printf(m, "%s %llu\n", names[i], sum);
	}
	return 0;
}

int procfs_net_init(struct net *net)
{
	return proc_create_net_single("ctinject", 0444, net->proc_net, show, NULL) ? 0 : -ENOMEM;
}

void procfs_net_exit(struct net *net)
{
	remove_proc_entry("ctinject", net->proc_net);
}

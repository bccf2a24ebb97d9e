/* SPDX-License-Identifier: GPL-2.0-only */
/* Counters, for each network namespace. */
#ifndef CTINJECT_STATS_H
#define CTINJECT_STATS_H

#include <linux/types.h>

struct net;

/*
 * kmod/README.md explains each. A dropped packet is counted in exactly one STAT_drop_ counter;
 * these come last.
 */
enum stat_id {
	STAT_ctframe_flows,
	STAT_ctframe_frames,
	STAT_ctframe_frames_again,
	STAT_ctproxy_headers,
	STAT_ctproxy_headers_again,
	STAT_udp_ctframe,
	STAT_udp_ctproxy,
	STAT_untouched,
	STAT_options_cleared,
	STAT_urgent_cleared,
	STAT_gso_converted,
	STAT_linearized,
	STAT_swallowed,
	STAT_replies_elsewhere,
	STAT_cookies_spoiled,
	STAT_icmp_corrected,
	STAT_drop_unarmed,
	STAT_drop_user_namespace,
	STAT_drop_no_syn,
	STAT_drop_early,
	STAT_drop_below,
	STAT_drop_ack,
	STAT_drop_behind_fin,
	STAT_drop_synack,
	STAT_drop_signature_option,
	STAT_drop_flow_limit,
	STAT_drop_memory,
	STAT_drop_frame_limit,
	STAT_drop_sequence,
	STAT_drop_no_key,
	STAT_drop_build,
	STAT_drop_malformed,
	STAT_drop_mtu,
	STAT_drop_gso,
	STAT_drop_unloading,
	STAT_MAX
};

struct stats {
	u64 count[STAT_MAX];
};

void stats_add(const struct net *net, enum stat_id which, u64 n);

static inline void stats_inc(const struct net *net, enum stat_id which)
{
	stats_add(net, which, 1);
}

/* Counts a dropped packet and returns NF_DROP, for `return stats_drop(...)` in a hook. */
unsigned int stats_drop(const struct net *net, enum stat_id reason);

int stats_net_init(struct net *net);
void stats_net_exit(struct net *net);

#endif

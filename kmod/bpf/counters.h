/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counters, per device. The kernel module has the same names in /proc/net/ctinject.
 *
 * A dropped packet is counted in exactly one of the drop_ counters, which come last. docs/ebpf.md
 * explains each counter; ctwsgi/ebpf/structs.py has the same list in the same order, and a test
 * compares the two.
 */
#ifndef CTPROXY_COUNTERS_H
#define CTPROXY_COUNTERS_H

#include "kernel.h"

#define COUNTERS(X)                                                                                \
	X(flows_opened)                                                                            \
	X(flows_closed)                                                                            \
	X(entries_made)                                                                            \
	X(entries_gone)                                                                            \
	X(ctproxy_headers)                                                                         \
	X(ctproxy_headers_again)                                                                   \
	X(udp_ctproxy)                                                                             \
	X(untouched)                                                                               \
	X(existing)                                                                                \
	X(options_cleared)                                                                         \
	X(swallowed)                                                                               \
	X(cookies_spoiled)                                                                         \
	X(icmp_corrected)                                                                          \
	X(drop_untracked)                                                                          \
	X(drop_one_armed)                                                                          \
	X(drop_no_syn)                                                                             \
	X(drop_early)                                                                              \
	X(drop_below)                                                                              \
	X(drop_ack)                                                                                \
	X(drop_behind_fin)                                                                         \
	X(drop_synack)                                                                             \
	X(drop_signature_option)                                                                   \
	X(drop_flow_limit)                                                                         \
	X(drop_fragment)                                                                           \
	X(drop_no_key)                                                                             \
	X(drop_build)                                                                              \
	X(drop_malformed)                                                                          \
	X(drop_mtu)                                                                                \
	X(drop_gso)                                                                                \
	X(drop_unloading)

enum counter {
#define X(name) COUNT_##name,
	COUNTERS(X)
#undef X
	COUNTERS_MAX
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS_MAX);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

static __always_inline void count(__u32 which)
{
	__u64 *counter = bpf_map_lookup_elem(&counters, &which);

	if (counter)
		*counter += 1;
}

/* For `return drop(...)` in a program. */
static __always_inline int drop(__u32 reason)
{
	count(reason);
	return TC_ACT_SHOT;
}

#endif

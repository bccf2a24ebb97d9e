/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Types and constants of the kernel that no uapi header has.
 *
 * The structs have only the members that are read. CO-RE finds their offsets in the running kernel.
 */
#ifndef CTPROXY_KERNEL_H
#define CTPROXY_KERNEL_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/pkt_cls.h>

#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2

#define NSEC_PER_SEC 1000000000ULL
#define NSEC_PER_MSEC 1000000ULL

#define CLOCK_BOOTTIME 7

#define CHECKSUM_PARTIAL 3

/* sk_buff._nfct is a pointer to the conntrack entry, with enum ip_conntrack_info in these bits. */
#define NFCT_INFOMASK 7UL
#define IP_CT_IS_REPLY 3

/* sk_buff._skb_refdst and dst_entry._metrics are pointers with flags in these bits. */
#define SKB_DST_FLAGS 1UL
#define DST_METRICS_FLAGS 3UL

/* enum ip_conntrack_status */
#define IPS_SEEN_REPLY (1UL << 1)
#define IPS_DST_NAT (1UL << 5)
#define IPS_DYING (1UL << 9)
#define IPS_TEMPLATE (1UL << 11)

#define IP_CT_DIR_ORIGINAL 0
#define IP_CT_DIR_REPLY 1

#define TCP_CONNTRACK_ESTABLISHED 3

/*
 * Whether @then is less than @span before @now. @then may also be after @now, if another CPU read
 * the clock later but took the lock earlier.
 */
static __always_inline bool is_within(__u64 now, __u64 then, __u64 span)
{
	return (__s64)(now - then) < (__s64)span;
}

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct net_device {
	unsigned int mtu;
};

struct dst_entry {
	unsigned long _metrics;
};

struct sk_buff {
	struct net_device *dev;
	unsigned long _nfct;
	unsigned long _skb_refdst;
	__u8 ip_summed : 2;
	__u16 csum_start;
	unsigned char *head, *data;
};

struct bpf_map {
	__u32 max_entries;
};

union nf_inet_addr {
	__u32 all[4];
};

union nf_conntrack_man_proto {
	__be16 all;
};

struct nf_conntrack_man {
	union nf_inet_addr u3;
	union nf_conntrack_man_proto u;
	__u16 l3num;
};

struct nf_conntrack_tuple {
	struct nf_conntrack_man src;
	struct {
		union nf_inet_addr u3;
		union {
			__be16 all;
		} u;
		__u8 protonum;
	} dst;
};

struct nf_conntrack_tuple_hash {
	struct nf_conntrack_tuple tuple;
};

struct ip_ct_tcp {
	__u8 state;
};

union nf_conntrack_proto {
	struct ip_ct_tcp tcp;
};

struct nf_conn {
	__u32 timeout;		/* jiffies at which the entry expires */
	struct nf_conntrack_tuple_hash tuplehash[2];
	unsigned long status;
	__u32 mark;
	union nf_conntrack_proto proto;
};

#pragma clang attribute pop

#endif

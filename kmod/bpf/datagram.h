/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * UDP: writes a PROXY v2 header in front of each translated datagram to one of the chosen ports.
 *
 * A datagram that cannot have one is dropped and counted: it would exceed the MTU, it has been
 * fragmented, it is one of several in a GSO packet, or it cannot be changed.
 *
 * The packet grows at its tail, and the payload moves by the length of the header. To move the
 * headers towards skb->head instead, with bpf_skb_adjust_room(), would copy less, but the offset at
 * which an offloaded checksum begins would stay behind, and no helper can change it.
 */
#ifndef CTPROXY_DATAGRAM_H
#define CTPROXY_DATAGRAM_H

#include "conntrack.h"
#include "counters.h"
#include "emit.h"
#include "header.h"

#define UDP_PORTS_MAX 1024	/* structs.py has the same number */

/* The servers' ports to which datagrams get a header, in network byte order. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, UDP_PORTS_MAX);
	__type(key, __be16);
	__type(value, __u8);
} udp_ports SEC(".maps");

#define MOVE 2048	/* bytes of the payload that are moved at once */
#define MOVES 8		/* bpf_skb_change_tail() makes no packet of more than 16 KB */

struct moved {
	__u8 bytes[MOVE];
};

/* Scratch memory of a packet, one per CPU: see work.h. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct moved);
} moving SEC(".maps");

struct udp {
	__be16 source, destination, length, checksum;
};

#define RTAX_MTU_INDEX 1	/* RTAX_MTU, in an array that begins with 1 */

/* The device's MTU, or that of the route if it is smaller. */
static __always_inline __u32 path_mtu(struct __sk_buff *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx;
	__u32 mtu = BPF_CORE_READ(skb, dev, mtu), of_route = 0;
	struct dst_entry *dst;
	unsigned long metrics;

	dst = (struct dst_entry *)(BPF_CORE_READ(skb, _skb_refdst) & ~SKB_DST_FLAGS);
	if (!dst)
		return mtu;
	metrics = BPF_CORE_READ(dst, _metrics) & ~DST_METRICS_FLAGS;
	bpf_probe_read_kernel(&of_route, sizeof(of_route), (__u32 *)metrics + RTAX_MTU_INDEX);
	return of_route && of_route < mtu ? of_route : mtu;
}

/* The sum of UDP's pseudo header; @len: of UDP header and payload. */
static __always_inline __u64 udp_pseudo_sum(const struct packet *packet, __u32 len)
{
	__u64 sum = bpf_htons(IPPROTO_UDP) + bpf_htons(len);

	sum = add_sum(sum, packet->source, sizeof(packet->source));
	return add_sum(sum, packet->destination, sizeof(packet->destination));
}

/* The sum of the pseudo header and of the UDP header without its checksum. */
static __always_inline __u64 headers_sum(const struct packet *packet, const struct udp *udp,
					 __u32 len)
{
	return udp_pseudo_sum(packet, len) + udp->source + udp->destination + bpf_htons(len);
}

/*
 * The checksum after @n bytes were inserted, which are in @work->header with zeros behind them. The
 * payload's sum comes from the old checksum: if that was wrong, so is the new one. An odd number of
 * bytes swaps the payload's odd and even bytes, and with them those of its sum.
 */
static __always_inline __u16 new_checksum(const struct packet *packet, const struct udp *udp,
					  const struct work *work, __u32 len, __u32 n)
{
	__u16 known = fold(headers_sum(packet, udp, len)), was = ~udp->checksum, sum;
	__u16 payload = fold((__u64)was + (__u16)~known);

	if (n & 1)
		payload = payload << 8 | payload >> 8;
	sum = ~fold(add_sum(headers_sum(packet, udp, len + n) + payload, work->header,
			    sizeof(work->header)));
	return sum ? sum : 0xffff;
}

/* Whether the checksum that the device has yet to complete is that of this UDP header. */
static __always_inline bool is_own_checksum(struct __sk_buff *ctx, const struct packet *packet)
{
	struct sk_buff *skb = (struct sk_buff *)ctx;
	long headroom = BPF_CORE_READ(skb, data) - BPF_CORE_READ(skb, head);

	return BPF_CORE_READ(skb, csum_start) == headroom + packet->l4;
}

/* Move the @len bytes at @from to @from + @n, the last ones first. Returns 0, or -1. */
static __always_inline int move_payload(struct __sk_buff *skb, __u32 from, __u32 len, __u32 n)
{
	__u32 zero = 0, last, i;
	struct moved *moved;

	moved = bpf_map_lookup_elem(&moving, &zero);
	if (!moved)
		return -1;
	for (i = 0; i < MOVES; i++) {
		if (!len)
			return 0;
		/* With the index of the last byte the verifier sees a length of 1 to MOVE. */
		last = (len < MOVE ? len : MOVE) - 1;
		barrier_var(last);
		if (last >= MOVE)
			return -1;
		len -= last + 1;
		if (bpf_skb_load_bytes(skb, from + len, moved->bytes, last + 1) ||
		    bpf_skb_store_bytes(skb, from + len + n, moved->bytes, last + 1, 0))
			return -1;
	}
	return len ? -1 : 0;
}

/**
 * datagram_insert() - write a header in front of the payload
 * @skb: packet
 * @packet: where its headers are
 * @work: the header is in @header, with zeros behind it
 * @n: its length
 *
 * Not inlined: the verifier then checks it once, by itself.
 *
 * Return: 0, or a negative number.
 */
__noinline int datagram_insert(struct __sk_buff *skb, struct packet *packet, struct work *work,
			       __u32 n)
{
	__u32 len, payload;
	struct udp udp;

	if (!packet || !work || bpf_skb_load_bytes(skb, packet->l4, &udp, sizeof(udp)))
		return -1;
	payload = packet->l4 + sizeof(udp);
	len = bpf_ntohs(udp.length);
	if (checksum_is_partial(skb)) {
		if (!is_own_checksum(skb, packet))
			return -1;
		udp.checksum = fold(udp_pseudo_sum(packet, len + n));
	} else if (udp.checksum) {
		udp.checksum = new_checksum(packet, &udp, work, len, n);
	}
	udp.length = bpf_htons(len + n);
	if (bpf_skb_change_tail(skb, skb->len + n, 0) ||
	    move_payload(skb, payload, len - sizeof(udp), n))
		return -1;
	barrier_var(n);
	if (n < HEADER_MIN || n > HEADER_MAX)
		return -1;
	if (bpf_skb_store_bytes(skb, payload, work->header, n, 0) ||
	    bpf_skb_store_bytes(skb, packet->l4, &udp, sizeof(udp), 0))
		return -1;
	return write_ip_length(skb, packet, len + n);
}

static __always_inline bool is_malformed(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 at = packet->l4 + __builtin_offsetof(struct udp, length);
	__be16 length;

	return bpf_skb_load_bytes(skb, at, &length, sizeof(length)) ||
	       bpf_ntohs(length) < sizeof(struct udp) ||
	       packet->l4 + bpf_ntohs(length) != skb->len;
}

/* A datagram that gets a header. */
static __always_inline int datagram_mark(struct __sk_buff *skb, struct packet *packet,
					 const struct settings *settings, struct work *work)
{
	__u32 n;

	if (!settings->one_armed && skb->ingress_ifindex == skb->ifindex)
		return drop(COUNT_drop_one_armed);
	if (packet->is_fragment)
		return drop(COUNT_drop_fragment);
	if (skb->gso_size)
		return drop(COUNT_drop_gso);
	if (is_malformed(skb, packet))
		return drop(COUNT_drop_malformed);
	n = header_build(work, conntrack_pointer(skb), packet->version, TRANSPORT_DATAGRAM,
			 settings);
	if (!n)
		return drop(COUNT_drop_no_key);
	if (skb->len - packet->l3 + n > path_mtu(skb))
		return drop(COUNT_drop_mtu);
	if (datagram_insert(skb, packet, work, n))
		return drop(COUNT_drop_build);
	count(COUNT_udp_ctproxy);
	return TC_ACT_UNSPEC;
}

/* Does a datagram to @packet->destination and its port get a header? */
static __always_inline enum selected datagram_select(struct __sk_buff *skb,
						     const struct packet *packet,
						     const struct settings *settings)
{
	__be16 port = packet->tcp.destination;

	if (!bpf_map_lookup_elem(&udp_ports, &port))
		return SELECTED_NOT;
	return conntrack_select(skb, packet, settings);
}

/* A later fragment, or a packet whose UDP header was not found; conntrack knows the ports. */
static __always_inline int datagram_without_ports(struct __sk_buff *skb,
						  const struct packet *packet,
						  const struct settings *settings,
						  bool is_fragment)
{
	if (datagram_select(skb, packet, settings) != SELECTED_OURS)
		return TC_ACT_UNSPEC;
	return drop(is_fragment ? COUNT_drop_fragment : COUNT_drop_malformed);
}

/* A datagram that is about to leave by the device. */
static __always_inline int datagram_forward(struct __sk_buff *skb, struct packet *packet,
					    const struct settings *settings, struct work *work)
{
	/* The ports are where TCP has them. Conntrack translates no packet without them. */
	if (bpf_skb_load_bytes(skb, packet->l4, &packet->tcp, 2 * sizeof(__be16)))
		return TC_ACT_UNSPEC;
	switch (datagram_select(skb, packet, settings)) {
	case SELECTED_UNTRACKED:
		return drop(COUNT_drop_untracked);
	case SELECTED_OURS:
		return datagram_mark(skb, packet, settings, work);
	default:
		return TC_ACT_UNSPEC;
	}
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Turns packets into header segments.
 *
 * It uses bpf_skb_change_tail() and computes the checksum from scratch. bpf_skb_adjust_room() would
 * not move the offset at which an offloaded checksum begins. A segment with data is never resized,
 * since it would lose its segmentation (GSO): a copy of it becomes the header, and is sent first.
 */
#ifndef CTPROXY_EMIT_H
#define CTPROXY_EMIT_H

#include "counters.h"
#include "work.h"

/* Of a header segment that is made from a server's segment; the TTL in IPv4. */
#define HOP_LIMIT 64

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static __always_inline __u64 add_sum(__u64 sum, const void *words, __u32 size)
{
	return sum + (__u32)bpf_csum_diff(0, 0, (__be32 *)words, size, 0);
}

/* Set the IP header's length, and clear its fragment fields. */
static __always_inline int write_ip_length(struct __sk_buff *skb, const struct packet *packet,
					   __u32 tcp_len)
{
	__u32 checksum = packet->l3 + 10;
	__be16 length, fragment, from[2];

	if (packet->version == 6) {
		length = bpf_htons(packet->l4 - packet->l3 - IPV6_HEADER + tcp_len);
		return bpf_skb_store_bytes(skb, packet->l3 + 4, &length, 2, 0);
	}
	if (bpf_skb_load_bytes(skb, packet->l3 + 2, &from[0], 2) ||
	    bpf_skb_load_bytes(skb, packet->l3 + 6, &from[1], 2))
		return -1;
	length = bpf_htons(packet->l4 - packet->l3 + tcp_len);
	fragment = from[1] & bpf_htons(IPV4_DONT);
	if (bpf_l3_csum_replace(skb, checksum, from[0], length, 2) ||
	    bpf_l3_csum_replace(skb, checksum, from[1], fragment, 2) ||
	    bpf_skb_store_bytes(skb, packet->l3 + 2, &length, 2, 0))
		return -1;
	return bpf_skb_store_bytes(skb, packet->l3 + 6, &fragment, 2, 0);
}

/* The sum of TCP's pseudo header, which is the same in both directions. */
static __always_inline __u64 pseudo_sum(const struct packet *packet, __u32 tcp_len)
{
	__u64 sum = bpf_htons(IPPROTO_TCP) + bpf_htons(tcp_len);

	sum = add_sum(sum, packet->source, sizeof(packet->source));
	return add_sum(sum, packet->destination, sizeof(packet->destination));
}

/**
 * segment_write() - replace a packet's TCP header and payload
 * @skb: packet
 * @packet: where its headers are; @packet->header is the length of the one in @work->segment
 * @work: has the TCP header in @segment and the payload in @order.header, zeros after each
 * @len: 0, or the length of @work->order.header
 *
 * Not inlined: the verifier then checks it once, by itself.
 */
__noinline int segment_write(struct __sk_buff *skb, struct packet *packet, struct work *work,
			     __u32 len)
{
	__u32 header, whole;
	__u64 sum;

	if (!packet || !work)
		return -1;
	header = packet->header;
	if (header < TCP_HEADER || header > TCP_HEADER_MAX || len > HEADER_MAX)
		return -1;
	whole = header + len;
	/* One of the two changes the length, which discards a device's sum of old bytes. */
	if (bpf_skb_change_tail(skb, packet->l4 + whole + 1, 0) ||
	    bpf_skb_change_tail(skb, packet->l4 + whole, 0) ||
	    write_ip_length(skb, packet, whole))
		return -1;
	sum = pseudo_sum(packet, whole);
	work->tcp.offset = header / 4 << 4;
	work->tcp.checksum = 0;
	if (checksum_is_partial(skb)) {
		work->tcp.checksum = fold(sum);
	} else {
		sum = add_sum(sum, work->segment, TCP_HEADER_MAX);
		if (len)
			sum = add_sum(sum, work->order.header, HEADER_SPACE);
		work->tcp.checksum = ~fold(sum);
	}
	if (bpf_skb_store_bytes(skb, packet->l4, work->segment, header, 0))
		return -1;
	/* The verifier of 6.1 does not derive a lower bound from a comparison with 0. */
	barrier_var(len);
	if (len < HEADER_MIN || len > HEADER_MAX)
		return 0;
	return bpf_skb_store_bytes(skb, packet->l4 + header, work->order.header, len, 0);
}

/* Copy the packet's TCP header with its options to @work->segment, zeros after it. */
static __always_inline int segment_read(struct __sk_buff *skb, const struct packet *packet,
					struct work *work)
{
	__u32 header = packet->header;

	__builtin_memset(work->segment, 0, sizeof(work->segment));
	if (header < TCP_HEADER || header > TCP_HEADER_MAX)
		return -1;
	return bpf_skb_load_bytes(skb, packet->l4, work->segment, header);
}

/* Turn a client's segment into the header segment that @work->order describes. */
static __always_inline int become_header(struct __sk_buff *skb, struct packet *packet,
					 struct work *work)
{
	if (segment_read(skb, packet, work))
		return drop(COUNT_drop_build);
	work->tcp.seq = bpf_htonl(work->order.seq);
	work->tcp.flags &= ~(TCP_FIN | TCP_SYN | TCP_RST | TCP_URG | TCP_CWR);
	work->tcp.flags |= TCP_ACK | TCP_PSH;
	work->tcp.urgent = 0;
	if (segment_write(skb, packet, work, work->order.header_len))
		return drop(COUNT_drop_build);
	return TC_ACT_UNSPEC;
}

/* Write the TCP header of a segment in the client's name that answers the server's @packet. */
static __always_inline void write_answer(struct work *work, struct packet *packet)
{
	const struct order *order = &work->order;
	__u8 *options = work->segment + TCP_HEADER;

	__builtin_memset(work->segment, 0, sizeof(work->segment));
	work->tcp.source = order->ends.client_port;
	work->tcp.destination = order->ends.server_port;
	work->tcp.seq = bpf_htonl(order->seq);
	work->tcp.ack = bpf_htonl(order->ack);
	work->tcp.flags = TCP_ACK | TCP_PSH;
	work->tcp.window = order->window;
	packet->header = TCP_HEADER;
	if (!order->has_timestamps)
		return;
	options[0] = 1;		/* NOP */
	options[1] = 1;
	options[2] = 8;		/* timestamps */
	options[3] = 10;
	__builtin_memcpy(options + 4, order->timestamps, TIMESTAMPS);
	packet->header += 4 + TIMESTAMPS;
}

static __always_inline int turn_ipv4(struct __sk_buff *skb, const struct packet *packet,
				     const struct flow_key *ends)
{
	__be32 addresses[2] = { ends->client[0], ends->server[0] };
	__u32 checksum = packet->l3 + 10;
	__u8 from[2], to[2];

	if (bpf_skb_load_bytes(skb, packet->l3 + 8, from, 2))
		return -1;
	to[0] = HOP_LIMIT;
	to[1] = from[1];
	if (bpf_l3_csum_replace(skb, checksum, *(__u16 *)from, *(__u16 *)to, 2) ||
	    bpf_l3_csum_replace(skb, checksum, packet->destination[0], addresses[0], 4) ||
	    bpf_l3_csum_replace(skb, checksum, packet->source[0], addresses[1], 4) ||
	    bpf_skb_store_bytes(skb, packet->l3 + 8, to, 2, 0))
		return -1;
	return bpf_skb_store_bytes(skb, packet->l3 + 12, addresses, sizeof(addresses), 0);
}

static __always_inline int turn_ipv6(struct __sk_buff *skb, const struct packet *packet,
				     const struct flow_key *ends)
{
	__u8 limit = HOP_LIMIT;

	if (bpf_skb_store_bytes(skb, packet->l3 + 7, &limit, 1, 0) ||
	    bpf_skb_store_bytes(skb, packet->l3 + 8, ends->client, 16, 0))
		return -1;
	return bpf_skb_store_bytes(skb, packet->l3 + 24, ends->server, 16, 0);
}

static __always_inline int turn_ethernet(struct __sk_buff *skb)
{
	__u8 from[2 * ETH_ALEN], to[2 * ETH_ALEN];

	if (bpf_skb_load_bytes(skb, 0, from, sizeof(from)))
		return -1;
	__builtin_memcpy(to, from + ETH_ALEN, ETH_ALEN);
	__builtin_memcpy(to + ETH_ALEN, from, ETH_ALEN);
	return bpf_skb_store_bytes(skb, 0, to, sizeof(to), 0);
}

/* Address the copy of a server's segment to the server, and turn it into the header segment. */
static __always_inline int become_answer(struct __sk_buff *skb, struct packet *packet,
					 struct work *work)
{
	const struct flow_key *ends = &work->order.ends;

	if (packet->l3 && turn_ethernet(skb))
		return drop(COUNT_drop_build);
	if (packet->version == 4 ? turn_ipv4(skb, packet, ends) : turn_ipv6(skb, packet, ends))
		return drop(COUNT_drop_build);
	__builtin_memcpy(packet->source, ends->client, sizeof(packet->source));
	__builtin_memcpy(packet->destination, ends->server, sizeof(packet->destination));
	write_answer(work, packet);
	if (segment_write(skb, packet, work, work->order.header_len))
		return drop(COUNT_drop_build);
	return TC_ACT_UNSPEC;
}

/* Called by the egress program, for a copy that send_copy() has made. */
static __always_inline int finish_copy(struct __sk_buff *skb, struct packet *packet,
				       struct work *work, __u32 mode)
{
	if (mode == MODE_HEADER)
		return become_header(skb, packet, work);
	if (mode == MODE_ANSWER)
		return become_answer(skb, packet, work);
	if (packet_set_seq(skb, packet, work->order.seq))
		return drop(COUNT_drop_build);
	return TC_ACT_UNSPEC;
}

/*
 * Send a copy of the packet out of its device. The egress program runs on the copy and finishes it,
 * on this CPU and before this function returns.
 *
 * Return: 0, or a negative number.
 */
static __always_inline int send_copy(struct __sk_buff *skb, struct work *work, __u32 mode)
{
	int err;

	work->mode = mode;
	err = bpf_clone_redirect(skb, skb->ifindex, 0);
	work->mode = MODE_NONE;
	return err;
}

static __always_inline void count_header(bool again)
{
	count(again ? COUNT_ctproxy_headers_again : COUNT_ctproxy_headers);
}

#endif

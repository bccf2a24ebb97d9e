/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Finds the transport header of a packet, and changes single fields of TCP's.
 *
 * Helpers copy all bytes out and back, so that they may be in any part of the skb. A checksum that
 * the device has yet to complete does not cover these fields; bpf_l4_csum_replace() handles that.
 */
#ifndef CTPROXY_PACKET_H
#define CTPROXY_PACKET_H

#include "kernel.h"

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10
#define TCP_URG 0x20

/*
 * The flags of ECN: CWR and ECE; and AE, which is in the byte before. With Accurate ECN (RFC 9768)
 * they are a counter, and in the last ACK of a handshake zeros would switch it off.
 */
#define TCP_ECN 0xc0
#define TCP_AE 0x01

#define TCP_HEADER 20
#define TCP_HEADER_MAX 60

struct tcp {
	__be16 source, destination;
	__be32 seq, ack;
	__u8 offset, flags;
	__be16 window, checksum, urgent;
};

enum parsed {
	PARSED_TCP,
	PARSED_UDP,		/* its header is at l4, and was not read */
	PARSED_ICMP,		/* or ICMPv6; its header is at l4 */
	PARSED_LATER_FRAGMENT,	/* has no transport header */
	PARSED_OTHER,		/* is neither of them */
	PARSED_OPAQUE,		/* may have a TCP or UDP header that was not found */
};

/**
 * struct packet - offsets from skb->data, and values of the headers
 * @l3: offset of the IP header
 * @l4: offset of the transport header
 * @header: length of the TCP header, options included
 * @payload: length of the data behind it in this packet
 * @is_fragment: it is the first of several fragments
 * @version: 4 or 6
 */
struct packet {
	__u32 l3, l4;
	__u32 header, payload;
	__u32 source[4], destination[4];
	struct tcp tcp;
	__u8 version, is_fragment;
};

static __always_inline __u32 packet_seq(const struct packet *packet)
{
	return bpf_ntohl(packet->tcp.seq);
}

static __always_inline __u32 packet_ack(const struct packet *packet)
{
	return bpf_ntohl(packet->tcp.ack);
}

static __always_inline bool packet_has(const struct packet *packet, __u8 flag)
{
	return packet->tcp.flags & flag;
}

/* The sequence number after the segment. */
static __always_inline __u32 packet_end(const struct packet *packet)
{
	return packet_seq(packet) + packet->payload + !!packet_has(packet, TCP_SYN) +
	       !!packet_has(packet, TCP_FIN);
}

static __always_inline bool before(__u32 a, __u32 b)
{
	return (__s32)(a - b) < 0;
}

static __always_inline bool after(__u32 a, __u32 b)
{
	return before(b, a);
}

#define IPV4_HEADER 20
#define IPV4_MORE 0x2000
#define IPV4_OFFSET 0x1fff
#define IPV4_DONT 0x4000

#define IPV6_HEADER 40
#define IPV6_EXTENSIONS 6	/* no sender is known to use more in a row */
#define IPV6_FRAGMENT_OFFSET 0xfff8
#define IPV6_FRAGMENT_MORE 1

/* Read the TCP header at @packet->l4. @end is from the IP header; 0: too long for its field. */
static __always_inline enum parsed parse_tcp(struct __sk_buff *skb, struct packet *packet,
					     __u32 end)
{
	if (bpf_skb_load_bytes(skb, packet->l4, &packet->tcp, sizeof(packet->tcp)))
		return PARSED_OPAQUE;
	packet->header = (packet->tcp.offset >> 4) * 4;
	if (!end)
		end = skb->len;
	if (packet->header < TCP_HEADER || packet->l4 + packet->header > end || end > skb->len)
		return PARSED_OPAQUE;
	packet->payload = end - packet->l4 - packet->header;
	return PARSED_TCP;
}

static __always_inline enum parsed parse_ipv4(struct __sk_buff *skb, struct packet *packet)
{
	__u8 ip[IPV4_HEADER];
	__u32 length, place;

	if (bpf_skb_load_bytes(skb, packet->l3, ip, sizeof(ip)))
		return PARSED_OPAQUE;
	packet->version = 4;
	__builtin_memcpy(packet->source, ip + 12, 4);
	__builtin_memcpy(packet->destination, ip + 16, 4);
	packet->l4 = packet->l3 + (ip[0] & 15) * 4;
	if (packet->l4 < packet->l3 + IPV4_HEADER)
		return PARSED_OPAQUE;
	place = ip[6] << 8 | ip[7];
	if (place & IPV4_OFFSET)
		return ip[9] == IPPROTO_TCP || ip[9] == IPPROTO_UDP ? PARSED_LATER_FRAGMENT :
								      PARSED_OTHER;
	packet->is_fragment = !!(place & IPV4_MORE);
	if (ip[9] == IPPROTO_ICMP)
		return PARSED_ICMP;
	if (ip[9] == IPPROTO_UDP)
		return PARSED_UDP;
	if (ip[9] != IPPROTO_TCP)
		return PARSED_OTHER;
	length = ip[2] << 8 | ip[3];
	return parse_tcp(skb, packet, length ? packet->l3 + length : 0);
}

static __always_inline enum parsed parse_ipv6(struct __sk_buff *skb, struct packet *packet)
{
	__u8 ip[IPV6_HEADER], extension[8];
	__u32 length, place;
	__u8 next;
	int i;

	if (bpf_skb_load_bytes(skb, packet->l3, ip, sizeof(ip)))
		return PARSED_OPAQUE;
	packet->version = 6;
	__builtin_memcpy(packet->source, ip + 8, 16);
	__builtin_memcpy(packet->destination, ip + 24, 16);
	packet->l4 = packet->l3 + IPV6_HEADER;
	length = ip[4] << 8 | ip[5];
	next = ip[6];
	for (i = 0; i < IPV6_EXTENSIONS; i++) {
		if (next == IPPROTO_TCP)
			return parse_tcp(skb, packet,
					 length ? packet->l3 + IPV6_HEADER + length : 0);
		if (next == IPPROTO_ICMPV6)
			return PARSED_ICMP;
		if (next == IPPROTO_UDP)
			return PARSED_UDP;
		if (next == IPPROTO_AH)
			return PARSED_OPAQUE;
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
		    next != IPPROTO_FRAGMENT)
			return PARSED_OTHER;
		if (bpf_skb_load_bytes(skb, packet->l4, extension, sizeof(extension)))
			return PARSED_OPAQUE;
		if (next == IPPROTO_FRAGMENT) {
			place = extension[2] << 8 | extension[3];
			if (place & IPV6_FRAGMENT_OFFSET)
				return PARSED_LATER_FRAGMENT;
			packet->is_fragment = place & IPV6_FRAGMENT_MORE;
			packet->l4 += 8;
		} else {
			packet->l4 += (extension[1] + 1) * 8;
		}
		next = extension[0];
	}
	return PARSED_OPAQUE;
}

/**
 * packet_parse() - find out what a packet is, and where its headers are
 * @skb: packet
 * @packet: filled in; only in part for PARSED_OTHER and PARSED_OPAQUE
 * @link_header: number of bytes before the IP header
 */
static __always_inline enum parsed packet_parse(struct __sk_buff *skb, struct packet *packet,
						__u32 link_header)
{
	__builtin_memset(packet, 0, sizeof(*packet));
	packet->l3 = link_header;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return parse_ipv4(skb, packet);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return parse_ipv6(skb, packet);
	/* PPPoE, or a VLAN tag in the packet's data. */
	return PARSED_OPAQUE;
}

/* Whether the device has yet to complete the checksum. */
static __always_inline bool checksum_is_partial(struct __sk_buff *skb)
{
	return BPF_CORE_READ_BITFIELD_PROBED((struct sk_buff *)skb, ip_summed) == CHECKSUM_PARTIAL;
}

#define TCP_OFFSET(member) __builtin_offsetof(struct tcp, member)

/* Write 2 or 4 bytes at @offset of the TCP header. Returns 0, or a negative number. */
static __always_inline int packet_write(struct __sk_buff *skb, const struct packet *packet,
					__u32 offset, __u32 from, __u32 to, __u32 size)
{
	if (bpf_skb_store_bytes(skb, packet->l4 + offset, &to, size, 0))
		return -1;
	return bpf_l4_csum_replace(skb, packet->l4 + TCP_OFFSET(checksum), from, to, size);
}

static __always_inline int packet_set_seq(struct __sk_buff *skb, const struct packet *packet,
					  __u32 seq)
{
	return packet_write(skb, packet, TCP_OFFSET(seq), packet->tcp.seq, bpf_htonl(seq), 4);
}

static __always_inline int packet_set_ack(struct __sk_buff *skb, const struct packet *packet,
					  __u32 ack)
{
	return packet_write(skb, packet, TCP_OFFSET(ack), packet->tcp.ack, bpf_htonl(ack), 4);
}

static __always_inline int packet_set_window(struct __sk_buff *skb, const struct packet *packet,
					     __u16 window)
{
	return packet_write(skb, packet, TCP_OFFSET(window), packet->tcp.window, bpf_htons(window),
			    2);
}

#endif

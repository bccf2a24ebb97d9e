/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Corrects the sequence number that an ICMP error quotes.
 *
 * An error quotes a segment as it left this device. NAT translates the quoted addresses back to
 * those that the client used; this program does the same for the number. A client ignores an error
 * about a number that it does not have in flight (RFC 5927), and would then not learn that the
 * server is unreachable, nor the MTU of the path.
 */
#ifndef CTPROXY_ICMP_H
#define CTPROXY_ICMP_H

#include "flow.h"
#include "packet.h"

#define ICMP_HEADER 8
#define ICMP_UNREACHABLE 3
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER 12

#define ICMPV6_ERRORS 128	/* types below it are errors */

/* The part of a TCP header that every error quotes (RFC 792). */
struct quoted {
	__be16 source, destination;
	__be32 seq;
};

static __always_inline bool is_icmp_error(const struct packet *packet, __u8 type)
{
	if (packet->version == 6)
		return type < ICMPV6_ERRORS;
	return type == ICMP_UNREACHABLE || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETER;
}

/* Fill in @quoted and @key. Returns the offset of the quoted TCP header, 0 if there is none. */
static __always_inline __u32 find_quoted(struct __sk_buff *skb, const struct packet *packet,
					 struct quoted *quoted, struct flow_key *key)
{
	__u32 at = packet->l4 + ICMP_HEADER;
	__u8 ip[IPV6_HEADER];

	if (packet->version == 4) {
		if (bpf_skb_load_bytes(skb, at, ip, IPV4_HEADER) || ip[9] != IPPROTO_TCP)
			return 0;
		__builtin_memcpy(key->client, ip + 12, 4);
		__builtin_memcpy(key->server, ip + 16, 4);
		at += (ip[0] & 15) * 4;
	} else {
		if (bpf_skb_load_bytes(skb, at, ip, IPV6_HEADER) || ip[6] != IPPROTO_TCP)
			return 0;
		__builtin_memcpy(key->client, ip + 8, 16);
		__builtin_memcpy(key->server, ip + 24, 16);
		at += IPV6_HEADER;
	}
	if (bpf_skb_load_bytes(skb, at, quoted, sizeof(*quoted)))
		return 0;
	key->client_port = quoted->source;
	key->server_port = quoted->destination;
	key->version = packet->version;
	return at;
}

/* The client's number for one that an error quotes: that of the SYN, or of the client's first byte. */
static __always_inline __u32 client_number(const struct flow *flow, __u32 seq)
{
	if (flow->phase == PHASE_SYN && seq + flow->header_len + 1 == flow->latest)
		return seq + flow->header_len;
	if (flow->phase == PHASE_OPEN && before(seq, flow->first))
		return flow->first;
	return seq;
}

/* Correct the quoted number of an ICMP error, if the error is about a connection with a flow. */
static __always_inline int icmp_correct(struct __sk_buff *skb, const struct packet *packet)
{
	struct flow_key key = {};
	struct quoted quoted;
	struct flow *flow;
	__u32 at, seq;
	__be32 to;
	__u8 type;

	if (bpf_skb_load_bytes(skb, packet->l4, &type, 1) || !is_icmp_error(packet, type))
		return TC_ACT_UNSPEC;
	at = find_quoted(skb, packet, &quoted, &key);
	if (!at)
		return TC_ACT_UNSPEC;
	flow_key_tracked(&key, skb);
	flow = flow_find(&key);
	if (!flow)
		return TC_ACT_UNSPEC;
	seq = bpf_ntohl(quoted.seq);
	bpf_spin_lock(&flow->lock);
	seq = client_number(flow, seq);
	bpf_spin_unlock(&flow->lock);
	to = bpf_htonl(seq);
	if (to == quoted.seq)
		return TC_ACT_UNSPEC;
	/* ICMP and ICMPv6 have the checksum at the same offset. */
	if (bpf_l4_csum_replace(skb, packet->l4 + 2, quoted.seq, to, 4) ||
	    bpf_skb_store_bytes(skb, at + 4, &to, 4, 0))
		return TC_ACT_UNSPEC;
	count(COUNT_icmp_corrected);
	return TC_ACT_UNSPEC;
}

#endif

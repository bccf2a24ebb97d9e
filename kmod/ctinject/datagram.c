// SPDX-License-Identifier: GPL-2.0-only
/*
 * UDP: writes the origin in front of each datagram: for ctframe six bytes
 * (docs/wire-formats.md#ctframe-datagram-udp-ipv4), for ctproxy a PROXY v2 header.
 *
 * A datagram that grows beyond the MTU is dropped and counted. It is not sent as IP fragments:
 * clients keep datagrams small so that they are not fragmented.
 */

#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/netfilter.h>
#include <linux/timekeeping.h>
#include <linux/udp.h>
#include <net/ip.h>
#include <net/netfilter/nf_conntrack.h>

#include "conn.h"
#include "ctframe.h"
#include "datagram.h"
#include "header.h"
#include "keys.h"
#include "segment.h"
#include "stats.h"

/* Bytes in front of a ctframe datagram: address and port. */
#define CTFRAME_PREFIX 6

/* Writes the bytes that go in front of a datagram, and returns their number. */
static unsigned int build(u8 *prefix, const struct nf_conn *ct, enum ctinject_format format)
{
	if (format == CTINJECT_CTPROXY)
		return header_build(prefix, ct, keys_signing(nf_ct_net(ct)),
				    ktime_get_real_seconds());
	ctframe_destination(prefix, ct);
	return CTFRAME_PREFIX;
}

/* Conntrack has reassembled a fragmented datagram. It fits, so it is not fragmented again. */
static void forget_fragments(struct sk_buff *skb, u8 family)
{
	if (family == NFPROTO_IPV4)
		IPCB(skb)->frag_max_size = 0;
	else
		IP6CB(skb)->frag_max_size = 0;
}

/**
 * datagram_forward() - write the origin in front of a datagram to the server
 * @skb: the datagram
 * @ct: its conntrack, translated
 * @format: the format that its rule asked for
 * @state: hook
 */
unsigned int datagram_forward(struct sk_buff *skb, const struct nf_conn *ct,
			      enum ctinject_format format, const struct nf_hook_state *state)
{
	const struct udphdr *uh;
	u8 prefix[HEADER_MAX];
	struct segment seg;
	unsigned int n;
	u8 *gap;

	switch (segment_parse(skb, state, IPPROTO_UDP, &seg)) {
	case PARSED_OTHER:
		return NF_ACCEPT;
	case PARSED_MALFORMED:
		return stats_drop(state->net, STAT_drop_malformed);
	case PARSED_OK:
		break;
	}
	uh = (const struct udphdr *)(skb->data + seg.l4);
	if (ntohs(uh->len) != skb->len - seg.l4 && !skb_is_gso(skb))
		return stats_drop(state->net, STAT_drop_malformed);
	if (segment_corrupt(skb, &seg, IPPROTO_UDP, state))
		return stats_drop(state->net, STAT_drop_malformed);
	/* A GSO packet is several datagrams, each of which would need its own prefix. */
	if (skb_is_gso(skb))
		return stats_drop(state->net, STAT_drop_gso);

	n = build(prefix, ct, format);
	if (skb->len + n > segment_mtu(skb, state))
		return stats_drop(state->net, STAT_drop_mtu);
	if (segment_writable(skb, &seg))
		return stats_drop(state->net, STAT_drop_build);
	gap = segment_insert(skb, &seg, n);
	if (!gap)
		return stats_drop(state->net, STAT_drop_build);
	memcpy(gap, prefix, n);
	seg.len += n;
	segment_lengths(skb, &seg, IPPROTO_UDP);
	forget_fragments(skb, seg.family);
	stats_inc(state->net,
		  format == CTINJECT_CTFRAME ? STAT_udp_ctframe : STAT_udp_ctproxy);
	return NF_ACCEPT;
}

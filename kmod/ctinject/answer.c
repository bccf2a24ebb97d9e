// SPDX-License-Identifier: GPL-2.0-only
/* Builds and routes the segments that the module sends in the client's name. */

#include <linux/ip.h>
#include <linux/ipv6.h>
#include <net/dst.h>
#include <net/ip.h>
#include <net/ip6_route.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/route.h>

#include "answer.h"
#include "ctinject.h"
#include "segment.h"

static struct dst_entry *route_ipv4(const struct flow_key *to, const struct answer *answer)
{
	struct flowi4 fl4 = {
		.daddr = to->server.ip,
		.saddr = to->client.ip,
		.flowi4_oif = answer->oif,
		.flowi4_mark = answer->mark,
		.flowi4_proto = IPPROTO_TCP,
		.flowi4_flags = FLOWI_FLAG_ANYSRC,	/* the client's address, not ours */
	};
	struct rtable *rt = ip_route_output_key((struct net *)to->net, &fl4);

	return IS_ERR(rt) ? NULL : &rt->dst;
}

static struct dst_entry *route_ipv6(const struct flow_key *to, const struct answer *answer)
{
	struct flowi6 fl6 = {
		.daddr = to->server.in6,
		.saddr = to->client.in6,
		.flowi6_oif = answer->oif,
		.flowi6_mark = answer->mark,
		.flowi6_proto = IPPROTO_TCP,
		.flowi6_flags = FLOWI_FLAG_ANYSRC,
	};
	struct dst_entry *dst = ip6_route_output((struct net *)to->net, NULL, &fl6);

	if (!dst->error)
		return dst;
	dst_release(dst);
	return NULL;
}

static void put_ip_header(struct sk_buff *skb, const struct flow_key *to)
{
	skb_reset_network_header(skb);
	if (to->family == NFPROTO_IPV4) {
		struct iphdr *iph = skb_put_zero(skb, sizeof(*iph));

		iph->version = 4;
		iph->ihl = sizeof(*iph) / 4;
		iph->frag_off = htons(IP_DF);
		iph->ttl = IPDEFTTL;
		iph->protocol = IPPROTO_TCP;
		iph->saddr = to->client.ip;
		iph->daddr = to->server.ip;
		skb->protocol = htons(ETH_P_IP);
	} else {
		struct ipv6hdr *ip6h = skb_put_zero(skb, sizeof(*ip6h));

		ip6h->version = 6;
		ip6h->hop_limit = IPDEFTTL;
		ip6h->nexthdr = IPPROTO_TCP;
		ip6h->saddr = to->client.in6;
		ip6h->daddr = to->server.in6;
		skb->protocol = htons(ETH_P_IPV6);
	}
}

static void put_tcp(struct sk_buff *skb, struct segment *seg, const struct flow_key *to,
		    const struct answer *answer)
{
	struct tcphdr *th;

	seg->l4 = skb->len;
	skb_set_transport_header(skb, seg->l4);
	th = skb_put_data(skb, &answer->th, sizeof(*th));
	th->source = to->client_port;
	th->dest = to->server_port;
	th->doff = (sizeof(*th) + answer->optlen) / 4;
	skb_put_data(skb, answer->options, answer->optlen);
	seg->payload = skb->len;
	skb_put_data(skb, answer->header, answer->len);
}

/**
 * answer_send() - send a segment to the server in the client's name
 * @to: the connection
 * @answer: the segment
 *
 * The packet passes POST_ROUTING untracked, since its addresses are translated already.
 */
int answer_send(const struct flow_key *to, const struct answer *answer)
{
	struct segment seg = { .family = to->family, .len = answer->len };
	struct dst_entry *dst;
	struct sk_buff *skb;

	dst = to->family == NFPROTO_IPV4 ? route_ipv4(to, answer) : route_ipv6(to, answer);
	if (!dst)
		return -EHOSTUNREACH;
	skb = alloc_skb(LL_MAX_HEADER + sizeof(struct ipv6hdr) + sizeof(answer->th) +
			answer->optlen + answer->len, GFP_ATOMIC);
	if (!skb) {
		dst_release(dst);
		return -ENOMEM;
	}
	skb_reserve(skb, LL_MAX_HEADER);
	put_ip_header(skb, to);
	put_tcp(skb, &seg, to, answer);
	segment_lengths(skb, &seg, IPPROTO_TCP);
	skb->mark = answer->mark;
	skb_dst_set(skb, dst);
	nf_ct_set(skb, NULL, IP_CT_UNTRACKED);
	dst_output((struct net *)to->net, NULL, skb);
	return 0;
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Translates the sequence numbers that ICMP errors quote.
 *
 * Conntrack and NAT translate the quoted addresses back; this file translates the quoted sequence
 * number back to client space. A client ignores an error about a number that it does not have in
 * flight (RFC 5927), and would not learn that the server is unreachable or what the path's MTU is.
 */

#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/netfilter.h>
#include <net/ipv6.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/netfilter/nf_conntrack_core.h>
#include <net/netfilter/nf_conntrack_zones.h>
#include <net/tcp.h>

#include "conn.h"
#include "flow.h"
#include "icmp.h"
#include "stats.h"

/* The part of the quoted TCP header that every error contains (RFC 792). */
struct quoted {
	__be16 source, dest;
	__be32 seq;
};

/**
 * struct icmp_error - an ICMP error; its parts as offsets from skb->data
 * @message: ICMP header
 * @packet: quoted IP header
 * @segment: quoted TCP header
 * @is_mtu: the error tells the MTU of a path
 */
struct icmp_error {
	unsigned int message, packet, segment;
	bool is_mtu;
};

static bool find_ipv4(struct sk_buff *skb, struct icmp_error *error)
{
	const struct iphdr *quoted;
	struct icmphdr *icmp;

	if (ip_hdr(skb)->protocol != IPPROTO_ICMP || ip_is_fragment(ip_hdr(skb)))
		return false;
	error->message = ip_hdr(skb)->ihl * 4;
	error->packet = error->message + sizeof(*icmp);
	if (!pskb_may_pull(skb, error->packet + sizeof(*quoted)))
		return false;
	icmp = (struct icmphdr *)(skb->data + error->message);
	if (!icmp_is_err(icmp->type))
		return false;
	error->is_mtu = icmp->type == ICMP_DEST_UNREACH && icmp->code == ICMP_FRAG_NEEDED;
	quoted = (const struct iphdr *)(skb->data + error->packet);
	if (quoted->protocol != IPPROTO_TCP || ip_is_fragment(quoted) || quoted->ihl < 5)
		return false;
	error->segment = error->packet + quoted->ihl * 4;
	return true;
}

static bool find_ipv6(struct sk_buff *skb, struct icmp_error *error)
{
	u8 next = ipv6_hdr(skb)->nexthdr;
	const struct icmp6hdr *icmp;
	__be16 fragment = 0;
	int offset;

	offset = ipv6_skip_exthdr(skb, sizeof(struct ipv6hdr), &next, &fragment);
	if (offset < 0 || next != IPPROTO_ICMPV6 || fragment)
		return false;
	error->message = offset;
	error->packet = offset + sizeof(*icmp);
	if (!pskb_may_pull(skb, error->packet + sizeof(struct ipv6hdr)))
		return false;
	icmp = (const struct icmp6hdr *)(skb->data + error->message);
	if (!icmpv6_is_err(icmp->icmp6_type))
		return false;
	next = ((const struct ipv6hdr *)(skb->data + error->packet))->nexthdr;
	offset = ipv6_skip_exthdr(skb, error->packet + sizeof(struct ipv6hdr), &next, &fragment);
	if (offset < 0 || next != IPPROTO_TCP || fragment)
		return false;
	error->segment = offset;
	return true;
}

static const struct quoted *quoted_segment(const struct sk_buff *skb,
					   const struct icmp_error *error)
{
	return (const struct quoted *)(skb->data + error->segment);
}

static void set_key(struct flow_key *key, const struct sk_buff *skb,
		    const struct icmp_error *error, const struct nf_conntrack_zone *zone,
		    const struct nf_hook_state *state)
{
	const struct quoted *segment = quoted_segment(skb, error);
	const void *packet = skb->data + error->packet;

	memset(key, 0, sizeof(*key));
	key->net = state->net;
	key->family = state->pf;
	key->zone = nf_ct_zone_id(zone, IP_CT_DIR_REPLY);
	if (state->pf == NFPROTO_IPV4) {
		key->server.ip = ((const struct iphdr *)packet)->daddr;
		key->client.ip = ((const struct iphdr *)packet)->saddr;
	} else {
		key->server.in6 = ((const struct ipv6hdr *)packet)->daddr;
		key->client.in6 = ((const struct ipv6hdr *)packet)->saddr;
	}
	key->server_port = segment->dest;
	key->client_port = segment->source;
}

static bool outside(u32 seq, u32 first, u32 last)
{
	return before(seq, first) || after(seq, last);
}

/* Translates a quoted number of a connection with a flow. Under flow->lock. */
static u32 translate(const struct flow *flow, u32 seq, const struct nf_hook_state *state)
{
	const struct framemap *map = &flow->map;

	if (flow->format == CTINJECT_CTPROXY)
		return before(seq, flow->first) ? flow->first : seq;
	/*
	 * An error of this host may quote a segment before it was translated. A number of both
	 * spaces is in flight, whichever is meant.
	 */
	if (state->hook == NF_INET_LOCAL_OUT &&
	    (!outside(seq, map->una, map->max) ||
	     outside(seq, map->raw, framemap_forward(map, map->max))))
		return seq;
	return framemap_reverse(map, seq, FRAMEMAP_RIGHT);
}

/* Translates the quoted number of a SYN, whose connection has no flow yet. */
static u32 translate_syn(struct sk_buff *skb, const struct icmp_error *error, u32 seq,
			 const struct nf_conntrack_zone *zone, const struct nf_hook_state *state)
{
	struct nf_conntrack_tuple tuple, reply;
	enum ctinject_format format;
	struct nf_conn *ct;
	struct conn *conn;

	if (!nf_ct_get_tuplepr(skb, skb_network_offset(skb) + error->packet, state->pf, state->net,
			       &tuple) ||
	    !nf_ct_invert_tuple(&reply, &tuple))
		return seq;
	ct = conn_find(state->net, zone, &reply, &conn, &format);
	if (!ct)
		return seq;
	if (READ_ONCE(conn->phase) == CONN_SYN && seq + conn->header_len + 1 == conn->latest)
		seq += conn->header_len;
	nf_ct_put(ct);
	return seq;
}

static void set_seq(struct sk_buff *skb, const struct icmp_error *error, u32 seq)
{
	struct quoted *segment = (struct quoted *)(skb->data + error->segment);
	/* ICMP and ICMPv6 have the checksum at the same offset. */
	struct icmphdr *icmp = (struct icmphdr *)(skb->data + error->message);
	__be32 to = htonl(seq);

	csum_replace4(&icmp->checksum, segment->seq, to);
	segment->seq = to;
}

/* Leaves space for the header that each segment of the client gets. */
static void lower_mtu(struct sk_buff *skb, const struct icmp_error *error, u16 mtu)
{
	struct icmphdr *icmp = (struct icmphdr *)(skb->data + error->message);
	__be16 to = htons(mtu - FRAMEMAP_HEADER);

	csum_replace2(&icmp->checksum, icmp->un.frag.mtu, to);
	icmp->un.frag.mtu = to;
}

static bool is_corrupt(struct sk_buff *skb, const struct icmp_error *error,
		       const struct nf_hook_state *state)
{
	u8 protocol = state->pf == NFPROTO_IPV4 ? 0 : IPPROTO_ICMPV6;

	return state->hook == NF_INET_PRE_ROUTING &&
	       nf_checksum(skb, state->hook, error->message, protocol, state->pf);
}

/*
 * Keeps the MTU that an error tells, for segments that will leave for the server. A client knows
 * the numbers in flight, too, so the error must come by the device that leads to the server. Like
 * the kernel, do not go below net.ipv4.route.min_pmtu. Under flow->lock.
 */
static void keep_mtu(struct flow *flow, u16 mtu, const struct nf_hook_state *state)
{
	if (state->hook != NF_INET_LOCAL_OUT && READ_ONCE(conn_check_device) &&
	    state->in->ifindex != flow->ifindex) {
		stats_inc(state->net, STAT_replies_elsewhere);
		return;
	}
	flow->mtu = max_t(unsigned int, mtu, READ_ONCE(state->net->ipv4.ip_rt_min_pmtu));
}

/*
 * Returns the quoted number in client space. For ctframe, sets *mtu to the MTU that the error
 * tells if the quoted number is in flight, else to 0.
 */
static u32 consult(struct flow *flow, const struct sk_buff *skb, const struct icmp_error *error,
		   u16 *mtu, const struct nf_hook_state *state)
{
	const struct icmphdr *icmp = (const struct icmphdr *)(skb->data + error->message);
	u32 seq;

	spin_lock_bh(&flow->lock);
	seq = translate(flow, ntohl(quoted_segment(skb, error)->seq), state);
	*mtu = 0;
	if (flow->format == CTINJECT_CTFRAME && error->is_mtu &&
	    !before(seq, flow->map.una) && !after(seq, flow->map.max) &&
	    ntohs(icmp->un.frag.mtu) >= IPV4_MIN_MTU + FRAMEMAP_HEADER) {
		*mtu = ntohs(icmp->un.frag.mtu);
		keep_mtu(flow, *mtu, state);
	}
	spin_unlock_bh(&flow->lock);
	return seq;
}

/**
 * icmp_correct() - translate what an ICMP error quotes, if it is about a selected connection
 * @skb: a packet that is not TCP
 * @zone: its zone
 * @state: hook
 */
void icmp_correct(struct sk_buff *skb, const struct nf_conntrack_zone *zone,
		  const struct nf_hook_state *state)
{
	struct icmp_error error = {};
	struct flow_key key;
	struct flow *flow;
	u32 seq, was;
	u16 mtu = 0;

	if (!(state->pf == NFPROTO_IPV4 ? find_ipv4(skb, &error) : find_ipv6(skb, &error)))
		return;
	if (!pskb_may_pull(skb, error.segment + sizeof(struct quoted)) ||
	    is_corrupt(skb, &error, state))
		return;
	was = ntohl(quoted_segment(skb, &error)->seq);
	set_key(&key, skb, &error, zone, state);
	flow = flow_find(&key);
	if (flow)
		seq = consult(flow, skb, &error, &mtu, state);
	else
		seq = translate_syn(skb, &error, was, zone, state);
	if (seq == was && !mtu)
		return;
	if (skb_ensure_writable(skb, error.segment + sizeof(struct quoted)))
		return;
	set_seq(skb, &error, seq);
	if (mtu)
		lower_mtu(skb, &error, mtu);
	stats_inc(state->net, STAT_icmp_corrected);
}

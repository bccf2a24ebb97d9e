// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hook for packets from the server. It runs before conntrack, which must see the client's
 * numbers only: at PRE_ROUTING when the server is another host, at LOCAL_OUT when it is this host
 * or the packet goes over lo.
 *
 * A reply is believed only if it comes from where the server is: through the device that leads to
 * the server, or from this host. Otherwise a client that forges packets of the server could
 * acknowledge a header that has not arrived.
 */

#include <linux/netfilter.h>
#include <net/ip.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/netfilter/nf_conntrack_core.h>
#include <net/netfilter/nf_conntrack_zones.h>

#include "conn.h"
#include "ctframe.h"
#include "ctproxy.h"
#include "flow.h"
#include "icmp.h"
#include "pernet.h"
#include "reply.h"
#include "segment.h"
#include "stats.h"
#include "tcpopt.h"
#include "unload.h"

/* The device through which a reply came; 0 if this host has sent it. */
static int origin_device(const struct nf_hook_state *state)
{
	return state->hook == NF_INET_LOCAL_OUT ? 0 : state->in->ifindex;
}

static bool from_elsewhere(int expected, const struct nf_hook_state *state)
{
	if (!READ_ONCE(conn_check_device) || origin_device(state) == expected)
		return false;
	stats_inc(state->net, STAT_replies_elsewhere);
	return true;
}

/*
 * Conntrack has not verified the checksum yet, and the effects of a corrupt ack cannot be undone.
 */
static bool is_corrupt(struct sk_buff *skb, const struct segment *seg,
		       const struct nf_hook_state *state)
{
	return state->hook == NF_INET_PRE_ROUTING &&
	       nf_checksum(skb, state->hook, seg->l4, IPPROTO_TCP, state->pf);
}

/* The server refuses a SYN. There is no flow: only conn says which number the client has used. */
static unsigned int refused(struct sk_buff *skb, const struct segment *seg,
			    const struct conn *conn)
{
	u32 first = ntohl(segment_tcp(skb, seg)->ack_seq) + conn->header_len;

	if (conn->header_len && conn->reopens && first == conn->latest &&
	    !segment_writable(skb, seg))
		segment_set_ack(skb, seg, first);
	return NF_ACCEPT;
}

/* A SYN-ACK: lets conn.c decide what it means, and translates it for the client. */
static unsigned int synack(struct sk_buff *skb, const struct segment *seg, struct nf_conn *ct,
			   struct conn *conn, enum ctinject_format format,
			   const struct nf_hook_state *state)
{
	enum stat_id why;

	if (READ_ONCE(unload_begun))
		return stats_drop(state->net, STAT_drop_unloading);
	if (segment_writable(skb, seg))
		return stats_drop(state->net, STAT_drop_build);
	switch (conn_on_synack(skb, seg, ct, conn)) {
	case CONN_SYNACK_FOREIGN:
		return stats_drop(state->net, STAT_drop_synack);
	case CONN_SYNACK_OPENS:
		if (format == CTINJECT_CTPROXY && ctproxy_open(ct, conn, &why)) {
			conn_unsettle(ct, conn);
			return stats_drop(state->net, why);
		}
		break;
	case CONN_SYNACK_AGAIN:
		break;
	}
	if (format == CTINJECT_CTPROXY)
		ctproxy_raise_synack(skb, seg, conn);
	else
		tcpopt_lower_mss(skb, segment_tcp(skb, seg), FRAMEMAP_HEADER);
	return NF_ACCEPT;
}

/*
 * A SYN-ACK, or an RST without a flow. It may be the first reply, so the connection is looked up in
 * conntrack.
 */
static unsigned int answer_to_syn(struct sk_buff *skb, const struct segment *seg,
				  const struct nf_conntrack_zone *zone,
				  const struct nf_hook_state *state)
{
	struct nf_conntrack_tuple tuple;
	enum ctinject_format format;
	unsigned int verdict = NF_ACCEPT;
	struct conn *conn;
	struct nf_conn *ct;

	if (!nf_ct_get_tuplepr(skb, skb_network_offset(skb), state->pf, state->net, &tuple))
		return NF_ACCEPT;
	ct = conn_find(state->net, zone, &tuple, &conn, &format);
	if (!ct)
		return NF_ACCEPT;
	if (READ_ONCE(conn->phase) >= CONN_SYN && !is_corrupt(skb, seg, state) &&
	    !from_elsewhere(READ_ONCE(conn->ifindex), state)) {
		if (segment_tcp(skb, seg)->syn)
			verdict = synack(skb, seg, ct, conn, format, state);
		else
			verdict = refused(skb, seg, conn);
	}
	nf_ct_put(ct);
	return verdict;
}

static void set_key(struct flow_key *key, const struct sk_buff *skb, const struct segment *seg,
		    const struct nf_conntrack_zone *zone, const struct nf_hook_state *state)
{
	const struct tcphdr *th = segment_tcp(skb, seg);

	memset(key, 0, sizeof(*key));
	key->net = state->net;
	key->family = state->pf;
	key->zone = nf_ct_zone_id(zone, IP_CT_DIR_REPLY);
	if (state->pf == NFPROTO_IPV4) {
		key->server.ip = ip_hdr(skb)->saddr;
		key->client.ip = ip_hdr(skb)->daddr;
	} else {
		key->server.in6 = ipv6_hdr(skb)->saddr;
		key->client.in6 = ipv6_hdr(skb)->daddr;
	}
	key->server_port = th->source;
	key->client_port = th->dest;
}

static unsigned int tcp_reply(struct sk_buff *skb, const struct segment *seg,
			      const struct ctinject_net *cn, const struct nf_conntrack_zone *zone,
			      const struct nf_hook_state *state)
{
	const struct tcphdr *th = segment_tcp(skb, seg);
	struct flow *flow = NULL;
	struct flow_key key;

	if (!test_bit(ntohs(th->source), cn->server_ports))
		return NF_ACCEPT;
	if (th->syn)
		return th->ack ? answer_to_syn(skb, seg, zone, state) : NF_ACCEPT;
	if (atomic_read(&cn->flows)) {
		set_key(&key, skb, seg, zone, state);
		flow = flow_find(&key);
	}
	if (!flow)
		return th->rst && th->ack ? answer_to_syn(skb, seg, zone, state) : NF_ACCEPT;
	if (is_corrupt(skb, seg, state) || from_elsewhere(READ_ONCE(flow->ifindex), state))
		return NF_ACCEPT;
	if (flow->format == CTINJECT_CTPROXY)
		return ctproxy_reply(skb, seg, flow, state);
	return ctframe_reply(skb, seg, flow, state);
}

/*
 * Quick test for the many packets that are no replies of a selected connection: plain TCP over IPv4
 * from a port that is no server's. False says only that the packet needs a closer look.
 */
static bool is_no_reply(const struct sk_buff *skb, const struct ctinject_net *cn,
			const struct nf_hook_state *state)
{
	const struct iphdr *iph = ip_hdr(skb);
	const struct tcphdr *th;

	if (state->pf != NFPROTO_IPV4 || iph->protocol != IPPROTO_TCP || iph->ihl != 5 ||
	    iph->frag_off & htons(IP_OFFSET) || skb_headlen(skb) < sizeof(*iph) + sizeof(*th))
		return false;
	th = (const struct tcphdr *)(iph + 1);
	return !test_bit(ntohs(th->source), cn->server_ports);
}

/*
 * An ICMP error or a reset with which this host answers a packet of the client, in the server's
 * stead: the server does not exist, or a rule rejects. The kernel has given it the conntrack of
 * that packet. If it answers the packet as it left hook_forward(), it has the server's numbers.
 */
static void own_answer(struct sk_buff *skb, const struct nf_conn *ct,
		       const struct nf_hook_state *state)
{
	struct segment seg;

	switch (segment_parse(skb, state, IPPROTO_TCP, &seg)) {
	case PARSED_OK:
		/* Only over lo is there a rule behind hook_forward(). */
		if (segment_tcp(skb, &seg)->rst && segment_tcp(skb, &seg)->ack &&
		    state->out->flags & IFF_LOOPBACK)
			answer_to_syn(skb, &seg, nf_ct_zone(ct), state);
		break;
	case PARSED_OTHER:
		icmp_correct(skb, nf_ct_zone(ct), state);
		break;
	default:
		break;
	}
}

/* In a VRF such a packet passes the hook twice; the second time it leaves through the slave. */
static bool is_own_answer(enum ip_conntrack_info ctinfo, const struct nf_hook_state *state)
{
	return state->hook == NF_INET_LOCAL_OUT && ctinfo == IP_CT_RELATED_REPLY &&
	       !netif_is_l3_master(state->out);
}

unsigned int hook_reply(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	const struct ctinject_net *cn = priv;
	const struct nf_conntrack_zone *zone;
	struct nf_conntrack_zone buffer;
	enum ip_conntrack_info ctinfo;
	struct segment seg;
	struct nf_conn *ct;

	if (is_no_reply(skb, cn, state))
		return NF_ACCEPT;
	/* A packet over lo was handled at LOCAL_OUT. */
	if (state->hook == NF_INET_PRE_ROUTING && state->in->flags & IFF_LOOPBACK)
		return NF_ACCEPT;
	ct = nf_ct_get(skb, &ctinfo);
	if (ctinfo == IP_CT_UNTRACKED)
		return NF_ACCEPT;
	if (ct && !nf_ct_is_template(ct)) {
		if (is_own_answer(ctinfo, state))
			own_answer(skb, ct, state);
		return NF_ACCEPT;
	}
	zone = nf_ct_zone_tmpl(ct, skb, &buffer);
	switch (segment_parse(skb, state, IPPROTO_TCP, &seg)) {
	case PARSED_OK:
		return tcp_reply(skb, &seg, cn, zone, state);
	case PARSED_OTHER:
		icmp_correct(skb, zone, state);
		return NF_ACCEPT;
	default:
		return NF_ACCEPT;	/* conntrack will find it malformed as well */
	}
}

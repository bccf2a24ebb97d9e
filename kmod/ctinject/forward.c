// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hook for packets to the server. It runs after conntrack, NAT and every rule, just before
 * nf_confirm: at LOCAL_IN when the server is on this host, at POST_ROUTING when it is another host
 * or the packet goes over lo.
 */

#include <linux/netfilter.h>
#include <net/netfilter/nf_conntrack.h>

#include "conn.h"
#include "ctframe.h"
#include "ctproxy.h"
#include "datagram.h"
#include "forward.h"
#include "segment.h"
#include "stats.h"
#include "unload.h"

static bool is_syn(const struct tcphdr *th)
{
	return th->syn && !th->ack;
}

/* A connection whose destination is not translated needs no header: leave it alone. */
static void set_direct(struct nf_conn *ct, struct conn *conn, struct net *net)
{
	spin_lock_bh(&ct->lock);
	if (conn->phase == CONN_NEW) {
		conn->phase = CONN_DIRECT;
		stats_inc(net, STAT_untouched);
	}
	spin_unlock_bh(&ct->lock);
}

static unsigned int tcp_forward(struct sk_buff *skb, struct segment *seg, struct nf_conn *ct,
				struct conn *conn, enum ctinject_format format,
				const struct nf_hook_state *state)
{
	u8 phase = smp_load_acquire(&conn->phase);	/* pairs with settle(), conn_prove() */
	const struct tcphdr *th = segment_tcp(skb, seg);

	if (phase == CONN_NEW && !conn_translated(ct)) {
		set_direct(ct, conn, state->net);
		return NF_ACCEPT;
	}
	if (phase == CONN_DIRECT)
		return NF_ACCEPT;
	if (is_syn(th))
		return conn_on_syn(skb, seg, ct, conn, format, state);
	switch (phase) {
	case CONN_NEW:
		return stats_drop(state->net, STAT_drop_no_syn);
	case CONN_SYN:
		/* A reset ends what the server still has of an older connection. */
		return th->rst ? NF_ACCEPT : stats_drop(state->net, STAT_drop_early);
	case CONN_PROVEN:
		if (!th->rst && conn_behind_fin(skb, seg, ct, conn))
			return stats_drop(state->net, STAT_drop_behind_fin);
		break;
	}
	if (format == CTINJECT_CTPROXY)
		return ctproxy_forward(skb, seg, conn, state);
	return ctframe_forward(skb, seg, ct, conn, state);
}

/*
 * Whether the packet comes, or has come, through this hook another time, where it is handled: over
 * lo at POST_ROUTING; in a VRF, as in nf_confirm, on the slave device.
 */
static bool passes_again(const struct sk_buff *skb, const struct nf_hook_state *state)
{
	if (state->hook == NF_INET_LOCAL_IN)
		return nf_is_loopback_packet(skb);
	return netif_is_l3_master(state->out);
}

unsigned int hook_forward(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	enum ip_conntrack_info ctinfo;
	enum ctinject_format format;
	struct segment seg;
	struct conn *conn;
	struct nf_conn *ct;

	ct = nf_ct_get(skb, &ctinfo);
	if (!ct)
		return NF_ACCEPT;
	conn = conn_of(ct, &format);
	if (!conn)
		return NF_ACCEPT;
	if (passes_again(skb, state))
		return NF_ACCEPT;
	if (nf_ct_protonum(ct) == IPPROTO_UDP) {
		if (CTINFO2DIR(ctinfo) != IP_CT_DIR_ORIGINAL || !conn_translated(ct))
			return NF_ACCEPT;
		return datagram_forward(skb, ct, format, state);
	}
	switch (segment_parse(skb, state, IPPROTO_TCP, &seg)) {
	case PARSED_OTHER:
		return NF_ACCEPT;	/* an ICMP error about the connection */
	case PARSED_MALFORMED:
		return stats_drop(state->net, STAT_drop_malformed);
	case PARSED_OK:
		break;
	}
	if (segment_corrupt(skb, &seg, IPPROTO_TCP, state))
		return stats_drop(state->net, STAT_drop_malformed);
	if (CTINFO2DIR(ctinfo) == IP_CT_DIR_ORIGINAL) {
		if (READ_ONCE(unload_begun))
			return stats_drop(state->net, STAT_drop_unloading);
		return tcp_forward(skb, &seg, ct, conn, format, state);
	}
	if (format == CTINJECT_CTFRAME)
		ctframe_seen_reply(skb, &seg, ct, conn, state);
	return NF_ACCEPT;
}

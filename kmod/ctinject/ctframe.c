// SPDX-License-Identifier: GPL-2.0-only
/*
 * `ctframe`: a header of 8 bytes in front of each frame of a TCP stream
 * (docs/wire-formats.md#ctframe-stream-tcp-ipv4).
 *
 * When bytes pass for the first time, it is decided where frames begin. The flow's map (framemap.h)
 * keeps that until the server has acknowledged the bytes; framing.c changes a segment accordingly.
 * A reply is translated back before conntrack sees it: ack, SACK and window.
 */

#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <net/ip.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/tcp.h>

#include "compat.h"
#include "conn.h"
#include "ctframe.h"
#include "flow.h"
#include "framing.h"
#include "limits.h"
#include "segment.h"
#include "stats.h"
#include "tcpopt.h"

/* The first six bytes of each frame, and of each datagram: the original destination. */
void ctframe_destination(u8 *six, const struct nf_conn *ct)
{
	const struct nf_conntrack_tuple *original = nf_ct_tuple(ct, IP_CT_DIR_ORIGINAL);

	memcpy(six, &original->dst.u3.ip, 4);
	put_unaligned_le16(ntohs(original->dst.u.all), six + 4);
}

/**
 * ctframe_open() - make the flow of a connection
 * @ct: conntrack, confirmed
 * @conn: its data, in phase CONN_OPEN or CONN_PROVEN
 * @why: on failure, set to the counter of the dropped packet
 *
 * Return: the flow, or NULL.
 */
struct flow *ctframe_open(struct nf_conn *ct, struct conn *conn, enum stat_id *why)
{
	struct flow *flow = flow_alloc(ct, conn, CTINJECT_CTFRAME, why);

	if (!flow)
		return NULL;
	framemap_init(&flow->map, conn->first, READ_ONCE(limits_frames));
	flow->map.account = nf_ct_net(ct);
	ctframe_destination(flow->destination, ct);
	flow->scale = conn->scale;
	flow = flow_publish(flow, why);
	if (flow)
		stats_inc(nf_ct_net(ct), STAT_ctframe_flows);
	return flow;
}

/* The counter for an error of framemap_commit(). */
static enum stat_id refusal(int error)
{
	switch (error) {
	case -ENOBUFS:
		return STAT_drop_frame_limit;
	case -ENOMEM:
		return STAT_drop_memory;
	default:
		return STAT_drop_sequence;
	}
}

/*
 * Whether a segment brings a byte or the FIN, and so needs a frame. Until there is a frame, both
 * sequence spaces are equal.
 */
static bool needs_frame(const struct sk_buff *skb, const struct segment *seg, u32 first)
{
	return after(segment_seq(skb, seg) + segment_span(skb, seg), first);
}

/*
 * Whether a segment may pass although the server may have no socket yet.
 *
 * The server has sent only its SYN-ACK, so the client can acknowledge nothing else. As a SYN
 * cookie, this ack fits the number of the stream's first byte or one next to it, or, as a cookie of
 * the previous minute, a number farther on. So the first segment that the server sees must be one
 * that begins with a frame's header, a bare ack at the first byte, or a FIN alone, behind which
 * nothing passes. The client sends again what is dropped.
 */
static bool may_be_first(const struct sk_buff *skb, const struct segment *seg,
			 const struct conn *conn)
{
	u32 ahead = segment_seq(skb, seg) - conn->first;

	if (!seg->len && !segment_tcp(skb, seg)->fin)
		return ahead == 0 || ahead == (u32)-1;
	return (s32)ahead >= 0;
}

static bool ack_is_plausible(const struct conn *conn, const struct tcphdr *th)
{
	return th->ack && ntohl(th->ack_seq) == conn->server;
}

/* Passes a segment of a connection without frames, whose sequence spaces are equal. */
static unsigned int pass_bare(struct sk_buff *skb, const struct segment *seg,
			      const struct conn *conn, const struct nf_hook_state *state)
{
	if (READ_ONCE(conn->phase) == CONN_PROVEN &&
	    conn_spoil_cookie(skb, seg, conn, segment_seq(skb, seg)))
		return stats_drop(state->net, STAT_drop_build);
	return NF_ACCEPT;
}

/**
 * ctframe_forward() - translate a segment to the server, no SYN, in CONN_OPEN or CONN_PROVEN
 * @skb: the segment
 * @seg: its offsets
 * @ct: its conntrack, confirmed
 * @conn: its data
 * @state: hook
 */
unsigned int ctframe_forward(struct sk_buff *skb, struct segment *seg, struct nf_conn *ct,
			     struct conn *conn, const struct nf_hook_state *state)
{
	bool unproven = READ_ONCE(conn->phase) == CONN_OPEN && !segment_tcp(skb, seg)->rst;
	struct flow *flow = READ_ONCE(conn->flow);
	enum stat_id why = STAT_drop_early;
	struct plan plan;
	u32 known;
	int err;

	if (unproven && !ack_is_plausible(conn, segment_tcp(skb, seg)))
		return stats_drop(state->net, STAT_drop_ack);
	if (unproven && !may_be_first(skb, seg, conn))
		return stats_drop(state->net, STAT_drop_below);
	if (!flow && !needs_frame(skb, seg, conn->first))
		return pass_bare(skb, seg, conn, state);
	if (!flow)
		flow = ctframe_open(ct, conn, &why);
	if (!flow)
		return stats_drop(state->net, why);
	if (segment_writable(skb, seg))
		return stats_drop(state->net, STAT_drop_build);
	if (segment_tcp(skb, seg)->urg) {
		segment_clear_urgent(skb, seg);
		stats_inc(state->net, STAT_urgent_cleared);
	}

	spin_lock_bh(&flow->lock);
	if (flow->dead) {
		spin_unlock_bh(&flow->lock);
		return stats_drop(state->net, STAT_drop_early);
	}
	flow->ifindex = conn_device(state);
	flow->oif = conn_oif(state);
	known = flow->map.max;
	if (seg->len || segment_tcp(skb, seg)->fin) {
		err = framing_commit(flow, skb, seg);
		if (err) {
			spin_unlock_bh(&flow->lock);
			return stats_drop(state->net, refusal(err));
		}
	}
	err = framing_plan(&plan, flow, known, skb, seg);
	spin_unlock_bh(&flow->lock);
	why = STAT_drop_build;
	if (!err && unproven && framing_begins_inside(&plan, seg)) {
		why = STAT_drop_early;
		err = -EAGAIN;
	}
	if (!err && READ_ONCE(conn->phase) == CONN_PROVEN)
		err = conn_spoil_cookie(skb, seg, conn, plan.seq);
	if (!err)
		err = framing_carry_out(&plan, skb, seg, flow, state);
	framing_end(&plan);
	return err ? stats_drop(state->net, why) : NF_ACCEPT;
}

/* Whether a bridge passes the packet on; br_netfilter has shown it to the hooks. */
static bool is_bridged(const struct sk_buff *skb, const struct nf_hook_state *state)
{
	return state->hook == NF_INET_POST_ROUTING && netif_is_bridge_master(state->out) &&
	       skb->dev && netif_is_bridge_port(skb->dev);
}

/*
 * The device through which a reply came for the reply hook, now that it leaves for the client; 0 if
 * this host has sent it. The skb has another one where that is in a VRF (the VRF) or a bridge (the
 * port).
 */
static int origin_device(const struct sk_buff *skb, const struct nf_hook_state *state)
{
	if (is_bridged(skb, state))
		return state->out->ifindex;
	return inet_sdif(skb) ?: skb->skb_iif;
}

/*
 * Whether a reply proves that the server has a socket: it does more than to acknowledge the SYN. If
 * it came through another device than the server's, anybody may have sent it.
 */
static bool proves(const struct sk_buff *skb, const struct segment *seg, const struct conn *conn,
		   const struct nf_hook_state *state)
{
	const struct tcphdr *th = segment_tcp(skb, seg);

	if (th->syn || th->rst || !th->ack)
		return false;
	if (READ_ONCE(conn_check_device) &&
	    origin_device(skb, state) != READ_ONCE(conn->ifindex))
		return false;
	return seg->len || th->fin || after(ntohl(th->ack_seq), conn->first);
}

/**
 * ctframe_seen_reply() - a reply leaves for the client, and conntrack has found it valid
 * @skb: the segment
 * @seg: its offsets
 * @ct: its conntrack
 * @conn: its data
 * @state: hook
 */
void ctframe_seen_reply(const struct sk_buff *skb, const struct segment *seg, struct nf_conn *ct,
			struct conn *conn, const struct nf_hook_state *state)
{
	struct flow *flow;
	bool fin = false;
	u32 fin_end = 0;

	if (READ_ONCE(conn->phase) != CONN_OPEN || !proves(skb, seg, conn, state))
		return;
	flow = READ_ONCE(conn->flow);
	if (flow) {
		spin_lock_bh(&flow->lock);
		fin = flow->map.fin;
		fin_end = flow->map.max + 1;
		spin_unlock_bh(&flow->lock);
	}
	conn_prove(ct, conn, fin, fin_end);
}

/* Under flow->lock, before the ack prunes. */
static u16 translate_window(const struct flow *flow, u32 ack, u16 window)
{
	u32 bytes = framemap_window(&flow->map, ack, (u32)window << flow->scale) >> flow->scale;

	/* Do not close a window that the server keeps open: the server would send no update. */
	return window && !bytes ? 1 : bytes;
}

/**
 * ctframe_reply() - translate a segment of the server, no SYN-ACK, before conntrack sees it
 * @skb: the segment; checksum and device are right
 * @seg: its offsets
 * @flow: its flow, under RCU
 * @state: hook
 */
unsigned int ctframe_reply(struct sk_buff *skb, const struct segment *seg, struct flow *flow,
			   const struct nf_hook_state *state)
{
	struct tcphdr *th;
	u32 ack;

	if (!segment_tcp(skb, seg)->ack)
		return NF_ACCEPT;
	if (segment_writable(skb, seg))
		return stats_drop(state->net, STAT_drop_build);
	th = segment_tcp(skb, seg);
	ack = ntohl(th->ack_seq);
	spin_lock_bh(&flow->lock);
	segment_set_window(skb, seg, translate_window(flow, ack, ntohs(th->window)));
	tcpopt_map_sack(skb, th, &flow->map);
	segment_set_ack(skb, seg, framemap_ack(&flow->map, ack));
	spin_unlock_bh(&flow->lock);
	return NF_ACCEPT;
}

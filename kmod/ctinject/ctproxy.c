// SPDX-License-Identifier: GPL-2.0-only
/*
 * `ctproxy`: one PROXY v2 header for each TCP connection, in numbers that the SYN reserves.
 *
 *	client space	              X | X+1 ...            the client's bytes
 *	server space	X-H | X-H+1 ... |  X+1 ...           the same numbers
 *	                     `-- header --'
 *
 * H is the header's length, X the number of the client's SYN, and flow->first is X+1. The SYN
 * leaves with number X-H. From X+1 on both spaces are equal, so data is not changed and does not
 * grow: the header is a segment of its own.
 *
 *	to the server, while the header is not acknowledged
 *	  bare ACK at X+1             becomes the header
 *	  data or FIN at X+1          passes if the header was sent and this is new; else the header
 *	                              is sent first: the client repeats what the server may lack
 *	  beyond X+1                  passes if the header was sent, and the server waits for that;
 *	                              else the header is sent first
 *	  beyond any first window     is dropped: it may bring back a SYN cookie of another minute
 *	  RST at X+1                  leaves with X-H+1 and with X+1: the server obeys one of them
 *	  keepalive probe (at X)      becomes the header
 *	  anything else below X+1     is dropped: no byte of the client may take the header's place
 *	from the server
 *	  ack of X+1 or more          the header has arrived: the flow is removed
 *	  ack below X+1               is raised to X+1, as the client expects it. Unless it is a
 *	                              SYN-ACK, the server lacks the header, which is sent again
 *	  RST without ACK             may mean the same, a few times: see missed_cookie()
 */

#include <linux/jiffies.h>
#include <linux/netfilter.h>
#include <linux/timekeeping.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/tcp.h>

#include "answer.h"
#include "conn.h"
#include "ctproxy.h"
#include "flow.h"
#include "header.h"
#include "keys.h"
#include "segment.h"
#include "stats.h"
#include "tcpopt.h"

/* A burst of acks below the header is answered with one header. */
#define ANSWER_INTERVAL msecs_to_jiffies(10)

/*
 * How far a client can be ahead of its first byte while the server has not acknowledged any: the
 * window of a SYN-ACK is not scaled. A cookie of the previous minute fits up to 2^25 ahead.
 */
#define FIRST_WINDOW 65535u

/* How often missed_cookie() accepts an RST. */
#define REFUSALS_MAX 2

/**
 * ctproxy_open() - make the flow of a connection whose SYN the server has accepted
 * @ct: conntrack, confirmed
 * @conn: its data, CONN_OPEN
 * @why: on failure, set to the counter of the dropped packet
 *
 * Return: 0, or an error number.
 */
int ctproxy_open(struct nf_conn *ct, struct conn *conn, enum stat_id *why)
{
	bool is_signed = conn->header_len != header_size(ct, false);
	const struct signing_key *key = NULL;
	struct flow *flow;

	if (is_signed) {
		key = keys_find(nf_ct_net(ct), conn->key_id);
		*why = STAT_drop_no_key;
		if (!key)
			return -ENOKEY;
	}
	flow = flow_alloc(ct, conn, CTINJECT_CTPROXY, why);
	if (!flow)
		return -ENOMEM;
	flow->first = conn->first;
	flow->server = conn->server;
	flow->sent = conn->server;
	flow->high = conn->first;
	flow->answered = jiffies - ANSWER_INTERVAL;
	flow->header_len = header_build(flow->header, ct, key, ktime_get_real_seconds());
	return flow_publish(flow, why) ? 0 : -ENOMEM;
}

/**
 * ctproxy_raise_synack() - translate the server's SYN-ACK for the client
 * @skb: SYN-ACK, writable
 * @seg: its offsets
 * @conn: its connection
 *
 * The header occupies part of the first window, so the client is told of a smaller one.
 */
void ctproxy_raise_synack(struct sk_buff *skb, const struct segment *seg,
			  const struct conn *conn)
{
	u16 window = ntohs(segment_tcp(skb, seg)->window);

	segment_set_ack(skb, seg, conn->first);
	if (window > conn->header_len)
		segment_set_window(skb, seg, window - conn->header_len);
}

enum action {
	PASS,
	BECOME_HEADER,
	HEADER_FIRST,
	RESET_TWICE,
	DROP_BELOW,		/* from here on: the packet is dropped */
	DROP_BEYOND,
	DROP_ACK,
};

/* A keepalive probe is one number too low; some stacks put a byte of garbage into it. */
static bool keepalive(const struct segment *seg, u32 ahead)
{
	return ahead == (u32)-1 && seg->len <= 1;
}

/* A client can acknowledge only what the server has sent in this connection. */
static bool ack_is_plausible(const struct flow *flow, const struct tcphdr *th)
{
	return th->ack && ntohl(th->ack_seq) - flow->server <= flow->sent - flow->server;
}

/* Whether the header was sent, and the server has not shown since that it lacks it. */
static bool was_sent(const struct flow *flow)
{
	return flow->headers && !flow->lacking;
}

/*
 * Whether a segment brings something that the client has not sent before. If the header was sent,
 * it is on its way ahead of this segment. If it was lost, the server's ack asks for it, see
 * ctproxy_reply(), or the client sends the segment again.
 */
static bool is_new(const struct flow *flow, const struct segment *seg, const struct tcphdr *th)
{
	return after(ntohl(th->seq) + seg->len + th->fin, flow->high);
}

/* Decides about a segment while the server may lack the header. Under flow->lock. */
static enum action decide(const struct flow *flow, const struct segment *seg,
			  const struct tcphdr *th)
{
	u32 ahead = ntohl(th->seq) - flow->first;

	if (th->rst)
		return ahead ? PASS : RESET_TWICE;
	if (!ack_is_plausible(flow, th))
		return DROP_ACK;
	if ((s32)ahead > 0) {
		if (ahead + seg->len > FIRST_WINDOW)
			return DROP_BEYOND;
		return was_sent(flow) ? PASS : HEADER_FIRST;
	}
	if (ahead == 0 && (seg->len || th->fin))
		return was_sent(flow) && is_new(flow, seg, th) ? PASS : HEADER_FIRST;
	if (ahead == 0 || keepalive(seg, ahead))
		return BECOME_HEADER;
	return DROP_BELOW;
}

/* Keeps what an answer to the server will need, and counts headers. Under flow->lock. */
static void note(struct flow *flow, const struct sk_buff *skb, const struct segment *seg,
		 enum action action, const struct nf_hook_state *state)
{
	const struct tcphdr *th = segment_tcp(skb, seg);
	u32 end = segment_seq(skb, seg) + segment_span(skb, seg);

	if (action >= DROP_BELOW)
		return;
	if (after(end, flow->high))
		flow->high = end;
	/* A header that is sent again repeats these. After a reset it is not sent again. */
	flow->heard = !th->rst;
	flow->acked = ntohl(th->ack_seq);
	flow->ifindex = conn_device(state);
	flow->oif = conn_oif(state);
	flow->window = th->window;
	flow->ecn = tcp_flag_word(th) & SEGMENT_ECN;
	flow->mark = skb->mark;
	flow->timestamp_len = tcpopt_copy_timestamp(th, flow->timestamp);
	if (th->fin && !flow->fin) {
		flow->fin = true;
		flow->fin_end = end;
	}
	if (action != BECOME_HEADER && action != HEADER_FIRST)
		return;
	flow->lacking = false;
	stats_inc(state->net,
		  flow->headers++ ? STAT_ctproxy_headers_again : STAT_ctproxy_headers);
}

/*
 * Passes a segment that is beyond the header, or that comes after the server has acknowledged it.
 */
static unsigned int pass(struct sk_buff *skb, const struct segment *seg, const struct conn *conn,
			 const struct nf_hook_state *state)
{
	if (conn_spoil_cookie(skb, seg, conn, segment_seq(skb, seg)))
		return stats_drop(state->net, STAT_drop_build);
	return NF_ACCEPT;
}

/*
 * Early demux may have attached a request socket to this packet before the hooks. The packet that
 * was sent first may have turned that request into a socket, or have ended it. TCP must look it up
 * again: an ended request would answer a reset with a challenge ACK.
 */
static void forget_request(struct sk_buff *skb, const struct nf_hook_state *state)
{
	if (state->hook == NF_INET_LOCAL_IN)
		skb_orphan(skb);
}

/**
 * ctproxy_forward() - handle a segment to the server, no SYN, in CONN_OPEN or CONN_PROVEN
 * @skb: the segment
 * @seg: its offsets
 * @conn: its connection
 * @state: hook
 */
unsigned int ctproxy_forward(struct sk_buff *skb, struct segment *seg, struct conn *conn,
			     const struct nf_hook_state *state)
{
	struct flow *flow = READ_ONCE(conn->flow);
	u8 header[HEADER_MAX];
	enum action action;
	unsigned int header_len;
	u32 at;
	int err;

	if (!flow)
		goto gone;
	spin_lock_bh(&flow->lock);
	if (flow->dead) {
		spin_unlock_bh(&flow->lock);
		goto gone;
	}
	action = decide(flow, seg, segment_tcp(skb, seg));
	note(flow, skb, seg, action, state);
	header_len = flow->header_len;
	at = flow->first - header_len;
	if (action != PASS)
		memcpy(header, flow->header, header_len);
	spin_unlock_bh(&flow->lock);

	switch (action) {
	case BECOME_HEADER:
		err = segment_become_header(skb, seg, at, header, header_len);
		break;
	case HEADER_FIRST:
		err = segment_send_header(skb, seg, at, header, header_len, state);
		forget_request(skb, state);
		break;
	case RESET_TWICE:
		err = segment_send_copy(skb, seg, at, state);
		forget_request(skb, state);
		break;
	case DROP_ACK:
		return stats_drop(state->net, STAT_drop_ack);
	case DROP_BELOW:
		return stats_drop(state->net, STAT_drop_below);
	case DROP_BEYOND:
		return stats_drop(state->net, STAT_drop_sequence);
	default:
		return pass(skb, seg, conn, state);
	}
	return err ? stats_drop(state->net, STAT_drop_build) : NF_ACCEPT;

gone:
	/*
	 * The header is acknowledged, perhaps just now on another CPU; or the conntrack is dying.
	 */
	if (READ_ONCE(conn->phase) == CONN_PROVEN)
		return pass(skb, seg, conn, state);
	return stats_drop(state->net, STAT_drop_early);
}

/* Whether a segment only acknowledges the header, of which the client knows nothing. */
static bool only_for_us(const struct sk_buff *skb, const struct segment *seg, u32 ahead)
{
	const struct tcphdr *th = segment_tcp(skb, seg);

	return !ahead && !seg->len && !th->syn && !th->fin && !th->rst && th->window;
}

/*
 * Prepares the header segment that answers a reply. Under flow->lock.
 *
 * There is no answer to a server on this host, to which no packet is lost on the way. If its TCP
 * has discarded the header, that goes in front of the client's next segment.
 */
static void prepare_answer(struct answer *answer, struct flow *flow,
			   const struct nf_hook_state *state)
{
	if (state->hook != NF_INET_PRE_ROUTING) {
		flow->lacking = true;
		return;
	}
	/* Do not complete the handshake of a client that has not answered the SYN-ACK itself. */
	if (!flow->heard)
		return;
	if (time_before(jiffies, flow->answered + ANSWER_INTERVAL))
		return;
	flow->answered = jiffies;
	answer->th = (struct tcphdr) {
		.seq = htonl(flow->first - flow->header_len),
		.ack_seq = htonl(flow->acked),
		.ack = 1,
		.psh = 1,
		.window = flow->window,
	};
	tcp_flag_word(&answer->th) |= flow->ecn;
	memcpy(answer->options, flow->timestamp, sizeof(answer->options));
	answer->optlen = flow->timestamp_len;
	memcpy(answer->header, flow->header, flow->header_len);
	answer->len = flow->header_len;
	answer->mark = flow->mark;
	answer->oif = flow->oif;
}

static void send_answer(const struct flow *flow, const struct answer *answer)
{
	if (answer->len && !answer_send(&flow->key, answer))
		stats_inc(flow->key.net, STAT_ctproxy_headers_again);
}

/*
 * Whether an RST only means that the server has missed the header. Under flow->lock.
 *
 * An RST without ACK answers a segment that found no socket. A server with SYN cookies makes its
 * socket when the header arrives, since only the header has the number that fits the cookie. If
 * data arrives first, because the header was lost or overtaken, the server refuses that segment and
 * not the connection. If it does refuse the connection, it sends another RST when the header is
 * sent again.
 */
static bool missed_cookie(struct flow *flow, const struct tcphdr *th)
{
	if (!th->rst || th->ack)
		return false;
	/* The RSTs for all segments of a burst count as one. */
	if (flow->refusals && time_before(jiffies, flow->refused + ANSWER_INTERVAL))
		return true;
	if (flow->refusals == REFUSALS_MAX)
		return false;
	flow->refusals++;
	flow->refused = jiffies;
	return true;
}

/* Keeps a packet from the client. */
static unsigned int swallow(struct sk_buff *skb, const struct nf_hook_state *state)
{
	stats_inc(state->net, STAT_swallowed);
	/* NF_DROP would report an error to a sender on this host. */
	consume_skb(skb);
	return NF_STOLEN;
}

/**
 * ctproxy_reply() - handle a segment of the server, no SYN-ACK, before conntrack sees it
 * @skb: the segment; checksum and device are right
 * @seg: its offsets
 * @flow: its flow, under RCU
 * @state: hook
 */
unsigned int ctproxy_reply(struct sk_buff *skb, const struct segment *seg, struct flow *flow,
			   const struct nf_hook_state *state)
{
	const struct tcphdr *th = segment_tcp(skb, seg);
	u32 end = segment_seq(skb, seg) + segment_span(skb, seg);
	u32 ahead, first;
	struct answer answer;

	answer.len = 0;		/* until prepare_answer() makes one */
	spin_lock_bh(&flow->lock);
	if (flow->dead)
		goto pass;
	if (missed_cookie(flow, th)) {
		prepare_answer(&answer, flow, state);
		spin_unlock_bh(&flow->lock);
		send_answer(flow, &answer);
		return swallow(skb, state);
	}
	if (!th->ack)
		goto pass;
	if (after(end, flow->sent))
		flow->sent = end;
	ahead = ntohl(th->ack_seq) - flow->first;
	/* An ack of bytes that the client has not sent belongs to an older connection. */
	if ((s32)ahead >= 0 && after(ntohl(th->ack_seq), flow->high))
		goto pass;
	if ((s32)ahead >= 0) {
		conn_prove(flow->ct, flow->conn, flow->fin, flow->fin_end);
		flow_unlink(flow);
		spin_unlock_bh(&flow->lock);
		return only_for_us(skb, seg, ahead) ? swallow(skb, state) : NF_ACCEPT;
	}
	/* An ack below the header belongs to an older connection, too. */
	if (ahead < (u32)-flow->header_len)
		goto pass;
	if (!th->rst)
		prepare_answer(&answer, flow, state);
	first = flow->first;
	spin_unlock_bh(&flow->lock);

	send_answer(flow, &answer);
	if (segment_writable(skb, seg))
		return stats_drop(state->net, STAT_drop_build);
	segment_set_ack(skb, seg, first);
	tcpopt_strip_sack(skb, segment_tcp(skb, seg));
	return NF_ACCEPT;

pass:
	spin_unlock_bh(&flow->lock);
	return NF_ACCEPT;
}

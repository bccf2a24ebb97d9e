// SPDX-License-Identifier: GPL-2.0-only
/*
 * `ctproxy`: one PROXY v2 header per TCP connection, in sequence numbers reserved by the SYN.
 *
 *	client space	              X | X+1 ...            the client's bytes
 *	server space	X-H | X-H+1 ... |  X+1 ...           the same numbers
 *	                     `-- header --'
 *
 * H is the header's length, `first` is X+1. The SYN leaves as X-H. From X+1 on both spaces
 * are equal, so data is never changed and never grows: the header is a segment of its own.
 *
 *	to the server, while the header is not acknowledged
 *	  bare ACK at X+1             becomes the header
 *	  data or FIN at X+1          the header goes first, unless it has just gone
 *	  anything beyond             passes, if the header has been sent: it waits at the server
 *	                              for it. Else the header goes first
 *	  ... beyond any window       is dropped: it may bring the SYN cookie of another minute
 *	  RST at X+1                  leaves as X-H+1 and as X+1: one of them is exact
 *	  keepalive probe (at X)      becomes the header
 *	  anything else below X+1     is dropped: no byte of the client's may pass for the header
 *	from the server
 *	  ack of X+1 or more          the header has arrived: the flow is forgotten
 *	  ack below X+1               is raised to X+1, which the client has a right to. No
 *	                              SYN-ACK: the server lacks the header, which is sent again
 *	  RST without ACK             the same, a few times: see missed_cookie()
 */

#include <linux/jiffies.h>
#include <linux/netfilter.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/tcp.h>

#include "conn.h"
#include "ctproxy.h"
#include "flow.h"
#include "header.h"
#include "keys.h"
#include "segment.h"
#include "stats.h"
#include "tcpopt.h"

/* A burst of low acks asks for one header, not for one each. */
#define ANSWER_INTERVAL msecs_to_jiffies(10)

/*
 * A client sends its first data right behind the handshake. The header is on its way then; if it
 * is lost, the server asks for it, see ctproxy_reply().
 */
#define HEADER_INTERVAL msecs_to_jiffies(10)

/*
 * How far ahead of its first byte a client can be while the server has not acknowledged any: the
 * window of a SYN-ACK is not scaled. A cookie of the minute before belongs up to 2^25 ahead.
 */
#define FIRST_WINDOW 65535u

/* How often an RST may mean that the header was missed, see missed_cookie(). */
#define REFUSALS_MAX 2

/**
 * ctproxy_open() - the server has taken the SYN: from here on there are two sequence spaces
 * @ct: conntrack, confirmed
 * @conn: its data, CONN_OPEN
 * @why: on failure, the counter to drop under
 */
int ctproxy_open(struct nf_conn *ct, struct conn *conn, enum stat_id *why)
{
	bool is_signed = conn->header_len != header_size(nf_ct_l3num(ct), false);
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
	flow->header_len = header_build(flow->header, ct, key, conn->time);
	return flow_publish(flow, why) ? 0 : -ENOMEM;
}

/**
 * ctproxy_raise_synack() - what the client is told of the server's SYN-ACK
 * @skb: SYN-ACK, writable
 * @seg: its offsets
 * @conn: its connection
 *
 * The header takes room in the first window, which the client must not fill.
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
	DROP_BELOW,		/* this and what follows */
	DROP_BEYOND,
	DROP_ACK,
};

/* A probe of the byte before the next one; some stacks send it with a byte of garbage. */
static bool keepalive(const struct segment *seg, u32 ahead)
{
	return ahead == (u32)-1 && seg->len <= 1;
}

/* The client can acknowledge what the server has sent in this connection, and nothing else. */
static bool ack_is_plausible(const struct flow *flow, const struct tcphdr *th)
{
	return th->ack && ntohl(th->ack_seq) - flow->server <= flow->sent - flow->server;
}

static bool has_just_gone(const struct flow *flow)
{
	return flow->headers && time_before(jiffies, flow->headed + HEADER_INTERVAL);
}

/* What becomes of a segment while the server may lack the header. Under flow->lock. */
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
		return flow->headers ? PASS : HEADER_FIRST;
	}
	if (ahead == 0 && (seg->len || th->fin))
		return has_just_gone(flow) ? PASS : HEADER_FIRST;
	if (ahead == 0 || keepalive(seg, ahead))
		return BECOME_HEADER;
	return DROP_BELOW;
}

static void note(struct flow *flow, const struct sk_buff *skb, const struct segment *seg,
		 enum action action, const struct nf_hook_state *state)
{
	const struct tcphdr *th = segment_tcp(skb, seg);
	u32 end = segment_seq(skb, seg) + segment_span(skb, seg);

	if (action >= DROP_BELOW)
		return;
	if (after(end, flow->high))
		flow->high = end;
	/* What is sent in the client's name says what it said last, and nothing after a reset. */
	flow->heard = !th->rst;
	flow->acked = ntohl(th->ack_seq);
	flow->ifindex = conn_device(state);
	flow->window = th->window;
	flow->mark = skb->mark;
	flow->timestamp_len = tcpopt_copy_timestamp(th, flow->timestamp);
	if (th->fin && !flow->fin) {
		flow->fin = true;
		flow->fin_end = end;
	}
	if (action != BECOME_HEADER && action != HEADER_FIRST)
		return;
	flow->headed = jiffies;
	stats_inc(state->net,
		  flow->headers++ ? STAT_ctproxy_headers_again : STAT_ctproxy_headers);
}

/* What is beyond the header, or comes when it has been acknowledged. */
static unsigned int pass(struct sk_buff *skb, const struct segment *seg, const struct conn *conn,
			 const struct nf_hook_state *state)
{
	if (conn_spoil_cookie(skb, seg, conn, segment_seq(skb, seg)))
		return stats_drop(state->net, STAT_drop_build);
	return NF_ACCEPT;
}

/*
 * What went first may have made a socket of the request that TCP found for this packet before the
 * hooks (early demux), or have ended it. To one that has ended a reset is out of place, and it
 * would challenge it.
 */
static void forget_request(struct sk_buff *skb, const struct nf_hook_state *state)
{
	if (state->hook == NF_INET_LOCAL_IN)
		skb_orphan(skb);
}

/**
 * ctproxy_forward() - a segment of the client's, no SYN, whose connection is open or proven
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
	/* Acknowledged long ago, or just now on another CPU; or the conntrack is dying. */
	if (READ_ONCE(conn->phase) == CONN_PROVEN)
		return pass(skb, seg, conn, state);
	return stats_drop(state->net, STAT_drop_early);
}

/* An ack of the header and of nothing else tells the client nothing that it could understand. */
static bool only_for_us(const struct sk_buff *skb, const struct segment *seg, u32 ahead)
{
	const struct tcphdr *th = segment_tcp(skb, seg);

	return !ahead && !seg->len && !th->syn && !th->fin && !th->rst && th->window;
}

/*
 * Writes down the header segment that answers a reply. Under flow->lock.
 *
 * Towards this host nothing is lost on the way: what its TCP threw away the client sends
 * again, and the header goes in front of that.
 */
static void prepare_answer(struct answer *answer, struct flow *flow,
			   const struct nf_hook_state *state)
{
	if (state->hook != NF_INET_PRE_ROUTING)
		return;
	/* A client that was never heard may not exist: its handshake is not ours to complete. */
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
	memcpy(answer->options, flow->timestamp, sizeof(answer->options));
	answer->optlen = flow->timestamp_len;
	memcpy(answer->header, flow->header, flow->header_len);
	answer->len = flow->header_len;
	answer->mark = flow->mark;
}

static void send_answer(const struct flow *flow, const struct answer *answer)
{
	if (answer->len && !segment_answer(&flow->key, answer))
		stats_inc(flow->key.net, STAT_ctproxy_headers_again);
}

/*
 * An RST without ACK answers a segment that found no socket. A server with SYN cookies has
 * none until it sees the header, which alone has the number that belongs to its cookie:
 * when data has arrived first, the header was lost or overtaken, and not the connection is
 * refused but that segment. If it is the connection after all, the answer to the header
 * says so again. Under flow->lock.
 */
static bool missed_cookie(struct flow *flow, const struct tcphdr *th)
{
	if (!th->rst || th->ack)
		return false;
	/* Each segment of a burst is refused: that is one. */
	if (flow->refusals && time_before(jiffies, flow->refused + ANSWER_INTERVAL))
		return true;
	if (flow->refusals == REFUSALS_MAX)
		return false;
	flow->refusals++;
	flow->refused = jiffies;
	return true;
}

static unsigned int swallow(struct sk_buff *skb, const struct nf_hook_state *state)
{
	stats_inc(state->net, STAT_swallowed);
	/* Not NF_DROP, which is an error to a sender on this host. */
	consume_skb(skb);
	return NF_STOLEN;
}

/**
 * ctproxy_reply() - a segment of the server's, no SYN-ACK, before conntrack sees it
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

	answer.len = 0;		/* there is none, until it is prepared */
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
	/* Of what the client has not sent: an older connection's. */
	if ((s32)ahead >= 0 && after(ntohl(th->ack_seq), flow->high))
		goto pass;
	if ((s32)ahead >= 0) {
		conn_prove(flow->ct, flow->conn, flow->fin, flow->fin_end);
		flow_unlink(flow);
		spin_unlock_bh(&flow->lock);
		return only_for_us(skb, seg, ahead) ? swallow(skb, state) : NF_ACCEPT;
	}
	/* Of an older connection: its business. */
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

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The steps of a flow: what a packet means for it, and what becomes of the packet.
 *
 * ctproxy.bpf.c has the diagram and the reasons. All of this runs under flow->lock, where no helper
 * may be called: it looks at numbers, and writes down what is to be done.
 */
#ifndef CTPROXY_STATE_H
#define CTPROXY_STATE_H

#include "flow.h"
#include "options.h"

/* A burst of low acks asks for one header, not for one each. */
#define ANSWER_INTERVAL (10 * NSEC_PER_MSEC)

/* How often an RST may mean that a cookie was missed. */
#define REFUSALS_MAX 2

/* What a fragment may have in those that follow. */
#define FRAGMENT_MAX 65535

enum action {
	ACTION_PASS,
	ACTION_DROP,
	/* of a client's segment */
	ACTION_BECOME_HEADER,
	ACTION_HEADER_FIRST,
	ACTION_RESET_TWICE,
	ACTION_SPOIL_COOKIE,
	/* of a server's */
	ACTION_RAISE,		/* its ack, and SACK goes */
	ACTION_RAISE_SYNACK,	/* its ack, and the window shrinks */
	ACTION_SWALLOW,		/* it was for us alone */
};

/**
 * struct step - what becomes of a packet
 * @action: enum action
 * @reason: counter to drop under
 * @number: the new ack
 * @room: what the window shrinks by
 * @answer: the server lacks the header: send it
 * @again: the header was sent before
 */
struct step {
	__u32 action, reason, number;
	__u8 room, answer, again;
};

static __always_inline void step_drop(struct step *step, __u32 reason)
{
	step->action = ACTION_DROP;
	step->reason = reason;
}

/* The header segment, to be sent without the lock. */
static __always_inline void order_header(struct flow *flow, struct order *order,
					 struct step *step)
{
	order->seq = flow->first - flow->room;
	order->ack = flow->acked;
	order->window = flow->window;
	order->room = flow->room;
	order->has_timestamps = flow->has_timestamps;
	__builtin_memcpy(order->timestamps, flow->timestamps, TIMESTAMPS);
	__builtin_memcpy(order->header, flow->header, HEADER_SPACE);
	step->again = flow->sent_header;
	flow->sent_header = 1;
}

/* ---- to the server ---- */

/**
 * struct syn - a SYN that is about to leave
 * @first: the number of its client's first data byte
 * @fresh: its conntrack has not seen a reply
 * @established: conntrack takes it for one in the middle of a connection
 * @ct: its conntrack
 * @now: nanoseconds since boot
 * @header: of @room bytes
 */
struct syn {
	__u32 first;
	__u8 room, fresh, established;
	__u64 ct, now;
	const __u8 *header;
};

/*
 * Whether nothing is to be kept of what the flow was: conntrack has made a new entry, perhaps in
 * the same place, or the header is of another length.
 */
static __always_inline bool begins(const struct flow *flow, const struct syn *syn)
{
	if (flow->phase == PHASE_NONE || flow->ended || flow->ct != syn->ct ||
	    flow->room != syn->room)
		return true;
	return flow->phase >= PHASE_OPEN && syn->fresh;
}

static __always_inline void begin(struct flow *flow, const struct syn *syn)
{
	flow->phase = PHASE_SYN;
	flow->room = syn->room;
	flow->ct = syn->ct;
	flow->fin = 0;
	flow->heard = 0;
	flow->ended = 0;
}

/*
 * Any number of SYNs may pass, with any numbers: which one counts, the server says. Where the FIN
 * was is not forgotten: the SYN-ACK of a SYN behind it will end the conntrack.
 *
 * Return: whether there is a connection now where there was none.
 */
static __always_inline bool state_syn(struct flow *flow, const struct syn *syn)
{
	bool opens = flow->phase == PHASE_NONE || flow->ended;
	bool again;

	if (begins(flow, syn))
		begin(flow, syn);
	again = flow->phase == PHASE_SYN && flow->latest == syn->first;
	if (flow->phase != PHASE_PROVEN || !flow->fin)
		flow->latest = syn->first;
	if (flow->phase == PHASE_OPEN)
		return opens;
	flow->reopens = 1;
	flow->established = syn->established;
	flow->born = syn->now;
	/* The same SYN again: its time has been told already. */
	if (!again || !flow->header[0])
		__builtin_memcpy(flow->header, syn->header, HEADER_SPACE);
	return opens;
}

/* A probe of the byte before the next one; some stacks send it with a byte of garbage. */
static __always_inline bool is_keepalive(const struct packet *packet, __u32 ahead)
{
	return ahead == (__u32)-1 && packet->payload <= 1;
}

/* The client can acknowledge what the server has sent in this connection, and nothing else. */
static __always_inline bool ack_is_plausible(const struct flow *flow, const struct packet *packet)
{
	return packet_has(packet, TCP_ACK) &&
	       packet_ack(packet) - flow->server <= flow->sent - flow->server;
}

/* What becomes of a segment while the server may lack the header. */
static __always_inline void decide(const struct flow *flow, const struct packet *packet,
				   struct step *step)
{
	__u32 ahead = packet_seq(packet) - flow->first;

	step->action = ACTION_PASS;
	if (packet_has(packet, TCP_RST)) {
		if (ahead == 0)
			step->action = ACTION_RESET_TWICE;
	} else if (!ack_is_plausible(flow, packet)) {
		step_drop(step, COUNT_drop_ack);
	} else if (ahead == 0 && (packet->payload || packet_has(packet, TCP_FIN))) {
		step->action = ACTION_HEADER_FIRST;
	} else if (ahead == 0 || is_keepalive(packet, ahead)) {
		step->action = ACTION_BECOME_HEADER;
	} else if ((__s32)ahead < 0) {
		step_drop(step, COUNT_drop_below);
	}
}

static __always_inline void note_client(struct flow *flow, const struct packet *packet,
					const struct options *options)
{
	__u32 end = packet_end(packet);

	if (after(end, flow->high))
		flow->high = end;
	/* What is sent in the client's name says what it said last, and nothing after a reset. */
	flow->heard = !packet_has(packet, TCP_RST);
	flow->acked = packet_ack(packet);
	flow->window = packet->tcp.window;
	flow->has_timestamps = !!(options->found & FOUND_TIMESTAMPS);
	__builtin_memcpy(flow->timestamps, options->timestamps, TIMESTAMPS);
	if (packet_has(packet, TCP_FIN) && !flow->fin) {
		flow->fin = 1;
		flow->fin_end = end;
	}
}

/* Nothing follows a FIN, and the first one tells where that is. */
static __always_inline bool is_behind_fin(struct flow *flow, const struct packet *packet)
{
	__u32 end = packet_end(packet);

	if (!flow->fin && packet_has(packet, TCP_FIN)) {
		flow->fin = 1;
		flow->fin_end = end;
	}
	return flow->fin && after(end, flow->fin_end);
}

/* Whether a segment is as far from its ack as a SYN was from a SYN-ACK that the client has seen. */
static __always_inline bool is_on_diagonal(const struct flow *flow, const struct packet *packet,
					   __u64 now)
{
	__u32 distance = packet_ack(packet) - packet_seq(packet);
	int i;

	for (i = 0; i < DIAGONALS; i++)
		if (flow->shown[i] && is_within(now, flow->shown[i], COOKIE_LIFE) &&
		    distance - flow->diagonals[i] + COOKIE_SLACK <= 2 * COOKIE_SLACK)
			return true;
	return false;
}

/* The client is about to see this SYN-ACK, and with it the cookies of all numbers for a while. */
static __always_inline void note_diagonal(struct flow *flow, __u32 diagonal, __u64 now)
{
	int i;

	flow->told = now;
	for (i = 0; i < DIAGONALS; i++) {
		if (flow->shown[i] &&
		    diagonal - flow->diagonals[i] + COOKIE_SLACK <= 2 * COOKIE_SLACK) {
			flow->shown[i] = now;
			return;
		}
	}
	for (i = DIAGONALS - 1; i > 0; i--) {
		flow->shown[i] = flow->shown[i - 1];
		flow->diagonals[i] = flow->diagonals[i - 1];
	}
	flow->shown[0] = now;
	flow->diagonals[0] = diagonal;
}

/*
 * Whether a segment could be taken for one that brings a SYN cookie. An ack behind the client's FIN
 * is left alone: the server may wait for it, and a socket that it might open stays empty.
 */
static __always_inline bool brings_cookie(const struct flow *flow, const struct packet *packet,
					  __u64 now)
{
	if (!packet_has(packet, TCP_ACK) || packet_has(packet, TCP_RST))
		return false;
	if (flow->phase == PHASE_PROVEN && flow->fin && !packet->payload &&
	    !packet_has(packet, TCP_FIN) && packet_seq(packet) == flow->fin_end)
		return false;
	return is_on_diagonal(flow, packet, now);
}

/*
 * Whether a client's segment is what most are: of a proven connection, and nothing to be looked at
 * under the lock. What is read here changes before the connection is proven, or once.
 */
static __always_inline bool is_ordinary(const struct flow *flow, const struct packet *packet)
{
	__u32 distance = packet_ack(packet) - packet_seq(packet);
	int i;

	if (flow->phase != PHASE_PROVEN || flow->fin || flow->ended ||
	    packet_has(packet, TCP_FIN | TCP_RST))
		return false;
	for (i = 0; i < DIAGONALS; i++)
		if (distance - flow->diagonals[i] + COOKIE_SLACK <= 2 * COOKIE_SLACK)
			return false;
	return true;
}

/* A segment of the client's, no SYN. */
static __always_inline void state_client(struct flow *flow, const struct packet *packet,
					 struct work *work, __u64 now, struct step *step)
{
	step->action = ACTION_PASS;
	if (flow->phase < PHASE_OPEN) {
		/* A reset of what the server still had of an older connection may pass. */
		if (!packet_has(packet, TCP_RST))
			step_drop(step, COUNT_drop_early);
		return;
	}
	if (flow->phase == PHASE_OPEN) {
		decide(flow, packet, step);
		if (step->action != ACTION_DROP)
			note_client(flow, packet, &work->options);
		if (step->action != ACTION_PASS && step->action != ACTION_DROP)
			order_header(flow, &work->order, step);
	} else if (!packet_has(packet, TCP_RST) && is_behind_fin(flow, packet)) {
		step_drop(step, COUNT_drop_behind_fin);
	}
	if (step->action == ACTION_PASS && brings_cookie(flow, packet, now)) {
		step->action = ACTION_SPOIL_COOKIE;
		step->number = packet_ack(packet) - 4 * COOKIE_SLACK;
	}
}

/* ---- from the server ---- */

/*
 * Whether a SYN-ACK that does not count shows that the server has forgotten what does: one for
 * another SYN, or with a cookie of another minute, while the client may have seen neither; or one
 * for the number of a proven connection, which its client uses again, and no late duplicate.
 */
static __always_inline bool begins_anew(const struct flow *flow, __u32 server)
{
	if (flow->phase == PHASE_OPEN)
		return true;
	if (flow->phase != PHASE_PROVEN || !flow->reopens)
		return false;
	return server != flow->server || !flow->established;
}

/* Its ack tells which SYN the server took, and that is the beginning of the stream. */
static __always_inline void state_synack(struct flow *flow, const struct packet *packet,
					 __u64 now, struct step *step)
{
	__u32 diagonal = packet_seq(packet) + 1 - packet_ack(packet);
	__u32 first = packet_ack(packet) + flow->room;
	__u32 server = packet_seq(packet) + 1;
	bool opens;

	step->action = ACTION_RAISE_SYNACK;
	step->number = first;
	step->room = flow->room;
	if (flow->phase == PHASE_OPEN && first == flow->first && server == flow->server) {
		note_diagonal(flow, diagonal, now);
		return;
	}
	opens = flow->phase != PHASE_OPEN && first == flow->latest && flow->reopens && !flow->fin;
	/* There could be no telling what is a retransmission of which. */
	if (flow->phase == PHASE_PROVEN && first == flow->first)
		opens = false;
	if (!opens) {
		if (begins_anew(flow, server)) {
			/* The client sends its SYN once more. */
			flow->phase = PHASE_SYN;
			flow->fin = 0;
			flow->reopens = 0;
		}
		step_drop(step, COUNT_drop_synack);
		return;
	}
	note_diagonal(flow, diagonal, now);
	flow->phase = PHASE_OPEN;
	flow->reopens = 0;
	flow->first = first;
	flow->high = first;
	flow->server = server;
	flow->sent = server;
	flow->heard = 0;
	flow->refusals = 0;
	flow->sent_header = 0;
}

/*
 * Orders a header in answer to a reply. A client that was never heard may not exist: its handshake
 * is not ours to complete.
 */
static __always_inline void answer(struct flow *flow, struct order *order, __u64 now,
				   struct step *step)
{
	if (!flow->heard || is_within(now, flow->answered, ANSWER_INTERVAL))
		return;
	flow->answered = now;
	step->answer = 1;
	order_header(flow, order, step);
}

/*
 * An RST without ACK answers a segment that found no socket. A server with SYN cookies has none
 * until it sees the header, which alone has the number that belongs to its cookie: when data has
 * arrived first, the header was lost or overtaken, and not the connection is refused but that
 * segment. If it is the connection after all, the answer to the header says so again.
 */
static __always_inline bool missed_cookie(struct flow *flow, const struct packet *packet,
					  __u64 now)
{
	if (!packet_has(packet, TCP_RST) || packet_has(packet, TCP_ACK))
		return false;
	/* Each segment of a burst is refused: that is one. */
	if (flow->refusals && is_within(now, flow->refused, ANSWER_INTERVAL))
		return true;
	if (flow->refusals == REFUSALS_MAX)
		return false;
	flow->refusals++;
	flow->refused = now;
	return true;
}

/* An ack of the header and of nothing else tells the client nothing that it could understand. */
static __always_inline bool is_only_for_us(const struct packet *packet, __u32 ahead)
{
	return !ahead && !packet->payload && !packet->is_fragment && packet->tcp.window &&
	       !packet_has(packet, TCP_SYN | TCP_FIN | TCP_RST);
}

static __always_inline void note_server(struct flow *flow, const struct packet *packet)
{
	__u32 end = packet_end(packet) + (packet->is_fragment ? FRAGMENT_MAX : 0);

	if (after(end, flow->sent))
		flow->sent = end;
}

/* A segment of the server's while it may lack the header, no SYN-ACK. */
static __always_inline void state_open_reply(struct flow *flow, const struct packet *packet,
					     struct order *order, __u64 now, struct step *step)
{
	__u32 ahead = packet_ack(packet) - flow->first;

	if (missed_cookie(flow, packet, now)) {
		answer(flow, order, now, step);
		step->action = ACTION_SWALLOW;
		return;
	}
	if (!packet_has(packet, TCP_ACK))
		return;
	note_server(flow, packet);
	if ((__s32)ahead >= 0) {
		/* Of what the client has not sent: an older connection's. */
		if (after(packet_ack(packet), flow->high))
			return;
		flow->phase = PHASE_PROVEN;
		if (is_only_for_us(packet, ahead))
			step->action = ACTION_SWALLOW;
	} else if (ahead >= (__u32)-flow->room) {
		if (!packet_has(packet, TCP_RST))
			answer(flow, order, now, step);
		step->action = ACTION_RAISE;
		step->number = flow->first;
	}
}

/* A segment of the server's. */
static __always_inline void state_server(struct flow *flow, const struct packet *packet,
					 struct order *order, __u64 now, struct step *step)
{
	__u32 first = packet_ack(packet) + flow->room;

	step->action = ACTION_PASS;
	step->answer = 0;
	if (packet_has(packet, TCP_SYN)) {
		if (packet_has(packet, TCP_ACK))
			state_synack(flow, packet, now, step);
	} else if (flow->phase == PHASE_OPEN) {
		state_open_reply(flow, packet, order, now, step);
	} else if (packet_has(packet, TCP_RST) && packet_has(packet, TCP_ACK) && flow->reopens &&
		   first == flow->latest) {
		/* It refuses the SYN. */
		step->action = ACTION_RAISE;
		step->number = first;
	}
}

/*
 * A number that an ICMP error quotes, as the client knows it: of the SYN, or of the header.
 */
static __always_inline __u32 state_quoted(const struct flow *flow, __u32 seq)
{
	if (flow->phase == PHASE_SYN && seq + flow->room + 1 == flow->latest)
		return seq + flow->room;
	if (flow->phase == PHASE_OPEN && before(seq, flow->first))
		return flow->first;
	return seq;
}

#endif

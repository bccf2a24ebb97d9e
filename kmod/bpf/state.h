/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The state machine of a flow: how a packet changes the flow, and what is to be done with it.
 *
 * ctproxy.bpf.c has the diagram and the reasons. This code runs under flow->lock, where no helper
 * may be called, so it only fills in a struct step. The caller carries the step out.
 */
#ifndef CTPROXY_STATE_H
#define CTPROXY_STATE_H

#include "flow.h"
#include "options.h"

/* Low acks within this time are answered with a single header. */
#define ANSWER_INTERVAL (10 * NSEC_PER_MSEC)

/*
 * The number of RSTs from the server that are taken for a missed SYN cookie. The next one is
 * passed.
 */
#define REFUSALS_MAX 2

/* The most data that may follow in later fragments. */
#define FRAGMENT_MAX 65535

enum action {
	ACTION_PASS,
	ACTION_DROP,
	/* for a client's segment; see take_step() */
	ACTION_BECOME_HEADER,
	ACTION_HEADER_FIRST,
	ACTION_RESET_TWICE,
	ACTION_SPOIL_COOKIE,
	/* for a server's segment */
	ACTION_RAISE,		/* raise the ack, remove SACK blocks */
	ACTION_RAISE_SYNACK,	/* raise the ack, reduce the window */
	ACTION_SWALLOW,		/* drop: it says nothing to the client */
};

/**
 * struct step - what is to be done with a packet
 * @action: enum action
 * @reason: for ACTION_DROP: the counter
 * @number: the new ack
 * @window_cut: for ACTION_RAISE_SYNACK: how much to reduce the window by
 * @answer: the server lacks the header: answer with it
 * @again: the header was sent before
 */
struct step {
	__u32 action, reason, number;
	__u8 window_cut, answer, again;
};

static __always_inline void step_drop(struct step *step, __u32 reason)
{
	step->action = ACTION_DROP;
	step->reason = reason;
}

/* Fill in @order, for a header segment that is sent after the lock is released. */
static __always_inline void order_header(struct flow *flow, struct order *order,
					 struct step *step)
{
	order->seq = flow->first - flow->header_len;
	order->ack = flow->acked;
	order->window = flow->window;
	order->ecn = flow->ecn;
	order->accurate = flow->accurate;
	order->header_len = flow->header_len;
	order->has_timestamps = flow->has_timestamps;
	__builtin_memcpy(order->timestamps, flow->timestamps, TIMESTAMPS);
	__builtin_memcpy(order->header, flow->header, HEADER_SPACE);
	step->again = flow->sent_header;
	if (step->action != ACTION_RESET_TWICE)
		flow->sent_header = 1;
}

/* ---- to the server ---- */

/**
 * struct syn - a SYN that is about to leave
 * @first: sequence number of the client's first data byte
 * @header_len: length of @header
 * @fresh: its conntrack entry has not seen a reply
 * @established: conntrack has the connection as established
 * @ct: address of its conntrack entry
 * @now: nanoseconds since boot
 * @header: the PROXY header
 */
struct syn {
	__u32 first;
	__u8 header_len, fresh, established;
	__u64 ct, now;
	const __u8 *header;
};

/*
 * Whether the flow starts from the beginning with this SYN: conntrack has made a new entry, which
 * may have the same address, or the header has another length.
 */
static __always_inline bool begins(const struct flow *flow, const struct syn *syn)
{
	if (flow->phase == PHASE_NONE || flow->ended || flow->ct != syn->ct ||
	    flow->header_len != syn->header_len)
		return true;
	return flow->phase >= PHASE_OPEN && syn->fresh;
}

static __always_inline void begin(struct flow *flow, const struct syn *syn)
{
	flow->phase = PHASE_SYN;
	flow->header_len = syn->header_len;
	flow->ct = syn->ct;
	flow->fin = 0;
	flow->heard = 0;
	flow->ended = 0;
}

/*
 * Any number of SYNs may pass, with any numbers: the server's SYN-ACK tells which one it accepted.
 * A SYN does not clear the FIN: the SYN-ACK that answers a SYN after a FIN ends the conntrack
 * entry, and the client's next SYN gets a new one.
 *
 * Return: whether the flow had no connection before.
 */
static __always_inline bool state_syn(struct flow *flow, const struct syn *syn)
{
	bool opens = flow->phase == PHASE_NONE || flow->ended;

	if (begins(flow, syn))
		begin(flow, syn);
	if (flow->phase != PHASE_PROVEN || !flow->fin)
		flow->latest = syn->first;
	if (flow->phase == PHASE_OPEN)
		return opens;
	flow->reopens = 1;
	flow->established = syn->established;
	flow->born = syn->now;
	__builtin_memcpy(flow->header, syn->header, HEADER_SPACE);
	return opens;
}

/* A keepalive has the number before the next one; some stacks send a byte of garbage in it. */
static __always_inline bool is_keepalive(const struct packet *packet, __u32 ahead)
{
	return ahead == (__u32)-1 && packet->payload <= 1;
}

/* An honest client acknowledges only what the server has sent in this connection. */
static __always_inline bool ack_is_plausible(const struct flow *flow, const struct packet *packet)
{
	return packet_has(packet, TCP_ACK) &&
	       packet_ack(packet) - flow->server <= flow->sent - flow->server;
}

/*
 * Whether the header goes in front of a segment with data or FIN. Not if it was sent and the client
 * has not sent all of this segment before: then it is on its way ahead of it. If it was lost, the
 * server's ack asks for it, or the client sends the segment again.
 */
static __always_inline bool needs_header(const struct flow *flow, const struct packet *packet,
					 __u32 ahead)
{
	if (!flow->sent_header)
		return true;
	return !ahead && !after(packet_end(packet), flow->high);
}

/* Decide about a client's segment while the server may not have the header. */
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
	} else if ((__s32)ahead > 0 ||
		   (ahead == 0 && (packet->payload || packet_has(packet, TCP_FIN)))) {
		if (needs_header(flow, packet, ahead))
			step->action = ACTION_HEADER_FIRST;
	} else if (ahead == 0 || is_keepalive(packet, ahead)) {
		step->action = ACTION_BECOME_HEADER;
	} else {
		step_drop(step, COUNT_drop_below);
	}
}

static __always_inline void note_client(struct flow *flow, const struct packet *packet,
					const struct options *options)
{
	__u32 end = packet_end(packet);

	if (after(end, flow->high))
		flow->high = end;
	/* answer() needs these for a segment in the client's name. There is none after a reset. */
	flow->heard = !packet_has(packet, TCP_RST);
	flow->acked = packet_ack(packet);
	flow->window = packet->tcp.window;
	flow->ecn = packet->tcp.flags & TCP_ECN;
	flow->accurate = packet->tcp.offset & TCP_AE;
	flow->has_timestamps = !!(options->found & FOUND_TIMESTAMPS);
	__builtin_memcpy(flow->timestamps, options->timestamps, TIMESTAMPS);
	if (packet_has(packet, TCP_FIN) && !flow->fin) {
		flow->fin = 1;
		flow->fin_end = end;
	}
}

/* Whether a segment has data after the client's first FIN. */
static __always_inline bool is_behind_fin(struct flow *flow, const struct packet *packet)
{
	__u32 end = packet_end(packet);

	if (!flow->fin && packet_has(packet, TCP_FIN)) {
		flow->fin = 1;
		flow->fin_end = end;
	}
	return flow->fin && after(end, flow->fin_end);
}

/* Whether ack minus number could be that of a SYN cookie which the client has seen. */
static __always_inline bool has_cookie_distance(const struct flow *flow,
						const struct packet *packet, __u64 now)
{
	__u32 distance = packet_ack(packet) - packet_seq(packet);
	int i;

	for (i = 0; i < DISTANCES; i++)
		if (flow->shown[i] && is_within(now, flow->shown[i], COOKIE_LIFE) &&
		    distance - flow->distances[i] + COOKIE_SLACK <= 2 * COOKIE_SLACK)
			return true;
	return false;
}

/*
 * Remember the distance of a SYN-ACK that the client is about to see. If it has a cookie, the
 * client can compute the cookies of all numbers from it.
 */
static __always_inline void note_distance(struct flow *flow, __u32 distance, __u64 now)
{
	int i;

	flow->last_shown = now;
	for (i = 0; i < DISTANCES; i++) {
		if (flow->shown[i] &&
		    distance - flow->distances[i] + COOKIE_SLACK <= 2 * COOKIE_SLACK) {
			flow->shown[i] = now;
			return;
		}
	}
	for (i = DISTANCES - 1; i > 0; i--) {
		flow->shown[i] = flow->shown[i - 1];
		flow->distances[i] = flow->distances[i - 1];
	}
	flow->shown[0] = now;
	flow->distances[0] = distance;
}

/*
 * Whether a server without a socket could take a segment for one that brings a SYN cookie. A bare
 * ack after the client's FIN is not counted: the server may wait for it, and no data can follow it
 * into a socket that it opens.
 */
static __always_inline bool brings_cookie(const struct flow *flow, const struct packet *packet,
					  __u64 now)
{
	if (!packet_has(packet, TCP_ACK) || packet_has(packet, TCP_RST))
		return false;
	if (flow->phase == PHASE_PROVEN && flow->fin && !packet->payload &&
	    !packet_has(packet, TCP_FIN) && packet_seq(packet) == flow->fin_end)
		return false;
	return has_cookie_distance(flow, packet, now);
}

/*
 * Whether a client's segment passes without taking the lock, as most do: the connection is proven,
 * the segment has no FIN or RST, and it cannot bring a SYN cookie. The members that are read here
 * change before the connection is proven, or only once after it.
 */
static __always_inline bool is_ordinary(const struct flow *flow, const struct packet *packet)
{
	__u32 distance = packet_ack(packet) - packet_seq(packet);
	int i;

	if (flow->phase != PHASE_PROVEN || flow->fin || flow->ended ||
	    packet_has(packet, TCP_FIN | TCP_RST))
		return false;
	for (i = 0; i < DISTANCES; i++)
		if (distance - flow->distances[i] + COOKIE_SLACK <= 2 * COOKIE_SLACK)
			return false;
	return true;
}

/* Decide about a client's segment that is no SYN. */
static __always_inline void state_client(struct flow *flow, const struct packet *packet,
					 struct work *work, __u64 now, struct step *step)
{
	step->action = ACTION_PASS;
	if (flow->phase < PHASE_OPEN) {
		/* An RST passes: the server may still have an older connection. */
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
 * Whether an unexpected SYN-ACK shows that the server has given up the connection that the flow
 * describes. In PHASE_OPEN each does: it answers another SYN, or has a cookie of another minute. In
 * PHASE_PROVEN one does that answers a new SYN of the client and is no late copy of the first.
 */
static __always_inline bool begins_anew(const struct flow *flow, __u32 server)
{
	if (flow->phase == PHASE_OPEN)
		return true;
	if (flow->phase != PHASE_PROVEN || !flow->reopens)
		return false;
	return server != flow->server || !flow->established;
}

/* Decide about a SYN-ACK. Its ack tells which SYN the server accepted, and so the first number. */
static __always_inline void state_synack(struct flow *flow, const struct packet *packet,
					 __u64 now, struct step *step)
{
	__u32 distance = packet_seq(packet) + 1 - packet_ack(packet);
	__u32 first = packet_ack(packet) + flow->header_len;
	__u32 server = packet_seq(packet) + 1;
	bool opens;

	step->action = ACTION_RAISE_SYNACK;
	step->number = first;
	step->window_cut = flow->header_len;
	if (flow->phase == PHASE_OPEN && first == flow->first && server == flow->server) {
		note_distance(flow, distance, now);
		return;
	}
	opens = flow->phase != PHASE_OPEN && first == flow->latest && flow->reopens && !flow->fin;
	/* With the same number, old and new segments could not be told apart. */
	if (flow->phase == PHASE_PROVEN && first == flow->first)
		opens = false;
	if (!opens) {
		if (begins_anew(flow, server)) {
			/* Wait for the client to send its SYN again. */
			flow->phase = PHASE_SYN;
			flow->fin = 0;
			flow->reopens = 0;
		}
		step_drop(step, COUNT_drop_synack);
		return;
	}
	note_distance(flow, distance, now);
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
 * Answer a server's reply with the header. Not for a client that has not acknowledged the SYN-ACK:
 * its address may be forged, and the header would complete the handshake for it.
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
 * Whether an RST only means that the header is missing. A server sends an RST without ACK if it has
 * no socket for a segment. With SYN cookies it makes the socket when the header arrives, since only
 * the header has the number that matches the cookie. It answers data that arrives earlier with such
 * an RST. If the server really refuses the connection, it sends another RST for the header.
 */
static __always_inline bool missed_cookie(struct flow *flow, const struct packet *packet,
					  __u64 now)
{
	if (!packet_has(packet, TCP_RST) || packet_has(packet, TCP_ACK))
		return false;
	/* The RSTs for the segments of one burst count once. */
	if (flow->refusals && is_within(now, flow->refused, ANSWER_INTERVAL))
		return true;
	if (flow->refusals == REFUSALS_MAX)
		return false;
	flow->refusals++;
	flow->refused = now;
	return true;
}

/* Whether a segment only acknowledges the header, which the client does not know of. */
static __always_inline bool acks_header_only(const struct packet *packet, __u32 ahead)
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

/* Decide about a server's segment that is no SYN-ACK, while the server may not have the header. */
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
		/* The client has not sent so much: the segment is of an older connection. */
		if (after(packet_ack(packet), flow->high))
			return;
		flow->phase = PHASE_PROVEN;
		if (acks_header_only(packet, ahead))
			step->action = ACTION_SWALLOW;
	} else if (ahead >= (__u32)-flow->header_len) {
		if (!packet_has(packet, TCP_RST))
			answer(flow, order, now, step);
		step->action = ACTION_RAISE;
		step->number = flow->first;
	}
}

/* Decide about a server's segment. */
static __always_inline void state_server(struct flow *flow, const struct packet *packet,
					 struct order *order, __u64 now, struct step *step)
{
	__u32 first = packet_ack(packet) + flow->header_len;

	step->action = ACTION_PASS;
	step->answer = 0;
	if (packet_has(packet, TCP_SYN)) {
		if (packet_has(packet, TCP_ACK))
			state_synack(flow, packet, now, step);
	} else if (flow->phase == PHASE_OPEN) {
		state_open_reply(flow, packet, order, now, step);
	} else if (packet_has(packet, TCP_RST) && packet_has(packet, TCP_ACK) && flow->reopens &&
		   first == flow->latest) {
		/* The server refuses the SYN. */
		step->action = ACTION_RAISE;
		step->number = first;
	}
}

/*
 * Translates a sequence number that an ICMP error quotes into the client's: that of the SYN, or of
 * the client's first byte.
 */
static __always_inline __u32 state_quoted(const struct flow *flow, __u32 seq)
{
	if (flow->phase == PHASE_SYN && seq + flow->header_len + 1 == flow->latest)
		return seq + flow->header_len;
	if (flow->phase == PHASE_OPEN && before(seq, flow->first))
		return flow->first;
	return seq;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
/* How a server's packet changes its flow, and what is to be done with it. See step.h. */
#ifndef CTPROXY_SERVER_H
#define CTPROXY_SERVER_H

#include "cookie.h"
#include "step.h"

/* Low acks within this time are answered with a single header. */
#define ANSWER_INTERVAL (10 * NSEC_PER_MSEC)

/*
 * The number of RSTs from the server that are taken for a missed SYN cookie. The next one is
 * passed.
 */
#define REFUSALS_MAX 2

/* The most data that may follow in later fragments. */
#define FRAGMENT_MAX 65535

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
static __always_inline void server_synack(struct flow *flow, const struct packet *packet,
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
static __always_inline void server_open_reply(struct flow *flow, const struct packet *packet,
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
static __always_inline void server_segment(struct flow *flow, const struct packet *packet,
					 struct order *order, __u64 now, struct step *step)
{
	__u32 first = packet_ack(packet) + flow->header_len;

	step->action = ACTION_PASS;
	step->answer = 0;
	if (packet_has(packet, TCP_SYN)) {
		if (packet_has(packet, TCP_ACK))
			server_synack(flow, packet, now, step);
	} else if (flow->phase == PHASE_OPEN) {
		server_open_reply(flow, packet, order, now, step);
	} else if (packet_has(packet, TCP_RST) && packet_has(packet, TCP_ACK) && flow->reopens &&
		   first == flow->latest) {
		/* The server refuses the SYN. */
		step->action = ACTION_RAISE;
		step->number = first;
	}
}

#endif

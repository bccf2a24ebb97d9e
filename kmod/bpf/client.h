/* SPDX-License-Identifier: GPL-2.0-only */
/* How a client's packet changes its flow, and what is to be done with it. See step.h. */
#ifndef CTPROXY_CLIENT_H
#define CTPROXY_CLIENT_H

#include "cookie.h"
#include "options.h"
#include "step.h"

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
static __always_inline bool client_syn(struct flow *flow, const struct syn *syn)
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
		if (is_near(distance, flow->distances[i]))
			return false;
	return true;
}

/* Decide about a client's segment that is no SYN. */
static __always_inline void client_segment(struct flow *flow, const struct packet *packet,
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

#endif

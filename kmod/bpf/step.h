/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a packet is decided to become.
 *
 * client.h and server.h decide: they are the state machine of a flow, whose diagram and reasons are
 * in ctproxy.bpf.c. They run under flow->lock, where no helper may be called, so they only fill in a
 * struct step. The caller carries the step out.
 */
#ifndef CTPROXY_STEP_H
#define CTPROXY_STEP_H

#include "flow.h"

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

#endif

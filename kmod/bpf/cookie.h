/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which segments could bring back a SYN cookie: docs/injectors.md#syn-cookies.
 *
 * For given addresses and ports and within a minute, a cookie is a constant plus the client's
 * number. So the distance between ack and number tells.
 */
#ifndef CTPROXY_COOKIE_H
#define CTPROXY_COOKIE_H

#include "flow.h"

/* Whether two distances could be those of cookies with different indexes of the MSS. */
static __always_inline bool is_near(__u32 distance, __u32 other)
{
	return distance - other + COOKIE_SLACK <= 2 * COOKIE_SLACK;
}

/* Whether ack minus number could be that of a SYN cookie which the client has seen. */
static __always_inline bool has_cookie_distance(const struct flow *flow,
						const struct packet *packet, __u64 now)
{
	__u32 distance = packet_ack(packet) - packet_seq(packet);
	int i;

	for (i = 0; i < DISTANCES; i++)
		if (flow->shown[i] && is_within(now, flow->shown[i], COOKIE_LIFE) &&
		    is_near(distance, flow->distances[i]))
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
		if (flow->shown[i] && is_near(distance, flow->distances[i])) {
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

#endif

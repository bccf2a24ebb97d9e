/* SPDX-License-Identifier: GPL-2.0-only */
/* Segments that the module sends in the client's name, without a packet of the client. */
#ifndef CTINJECT_ANSWER_H
#define CTINJECT_ANSWER_H

#include <linux/tcp.h>

#include "header.h"
#include "tcpopt.h"

struct flow_key;

/**
 * struct answer - a segment to the server that the module builds from what it remembers
 * @th: TCP header, without ports, data offset and checksum
 * @options: timestamp option
 * @optlen: length of @options, 0 or TCPOPT_TIMESTAMP_SPACE
 * @header: payload
 * @len: length of the payload
 * @mark: skb mark, which may select the route
 * @oif: device or VRF to which the route is restricted, or 0
 */
struct answer {
	struct tcphdr th;
	u8 options[TCPOPT_TIMESTAMP_SPACE];
	u8 optlen, len;
	u8 header[HEADER_MAX];
	u32 mark;
	int oif;
};

int answer_send(const struct flow_key *to, const struct answer *answer);

#endif

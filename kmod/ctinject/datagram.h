/* SPDX-License-Identifier: GPL-2.0-only */
/* UDP: writes the origin in front of each datagram. */
#ifndef CTINJECT_DATAGRAM_H
#define CTINJECT_DATAGRAM_H

#include "ctinject.h"

unsigned int datagram_forward(struct sk_buff *skb, const struct nf_conn *ct,
			      enum ctinject_format format, const struct nf_hook_state *state);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
/* `ctframe`: a header of 8 bytes in front of each frame of a TCP stream. */
#ifndef CTINJECT_CTFRAME_H
#define CTINJECT_CTFRAME_H

#include "ctinject.h"
#include "segment.h"
#include "stats.h"

struct flow *ctframe_open(struct nf_conn *ct, struct conn *conn, enum stat_id *why);
unsigned int ctframe_forward(struct sk_buff *skb, struct segment *seg, struct nf_conn *ct,
			     struct conn *conn, const struct nf_hook_state *state);
void ctframe_seen_reply(const struct sk_buff *skb, const struct segment *seg, struct nf_conn *ct,
			struct conn *conn, const struct nf_hook_state *state);
unsigned int ctframe_reply(struct sk_buff *skb, const struct segment *seg, struct flow *flow,
			   const struct nf_hook_state *state);
void ctframe_destination(u8 *six, const struct nf_conn *ct);

#endif

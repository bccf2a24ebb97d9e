/* SPDX-License-Identifier: GPL-2.0-only */
/* `ctproxy`: one PROXY v2 header for each TCP connection. */
#ifndef CTINJECT_CTPROXY_H
#define CTINJECT_CTPROXY_H

#include "ctinject.h"
#include "segment.h"
#include "stats.h"

int ctproxy_open(struct nf_conn *ct, struct conn *conn, enum stat_id *why);
void ctproxy_raise_synack(struct sk_buff *skb, const struct segment *seg,
			  const struct conn *conn);
unsigned int ctproxy_forward(struct sk_buff *skb, struct segment *seg, struct conn *conn,
			     const struct nf_hook_state *state);
unsigned int ctproxy_reply(struct sk_buff *skb, const struct segment *seg, struct flow *flow,
			   const struct nf_hook_state *state);

#endif

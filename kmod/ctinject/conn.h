/* SPDX-License-Identifier: GPL-2.0-only */
/* Which connections are ours, and how far each has come. */
#ifndef CTINJECT_CONN_H
#define CTINJECT_CONN_H

#include <net/netfilter/nf_conntrack_helper.h>

#include "ctinject.h"

struct conn *conn_of(const struct nf_conn *ct, enum ctinject_format *format);
bool conn_translated(const struct nf_conn *ct);
int conn_device(const struct nf_hook_state *state);

unsigned int conn_on_syn(struct sk_buff *skb, struct segment *seg, struct nf_conn *ct,
			 enum ctinject_format format, const struct nf_hook_state *state);
unsigned int conn_on_synack(struct sk_buff *skb, const struct segment *seg, struct nf_conn *ct,
			    enum ctinject_format format, const struct nf_hook_state *state);
void conn_prove(struct nf_conn *ct, struct conn *conn, bool fin, u32 fin_end);
bool conn_behind_fin(const struct sk_buff *skb, const struct segment *seg, struct nf_conn *ct,
		     struct conn *conn);
int conn_spoil_cookie(struct sk_buff *skb, const struct segment *seg, const struct conn *conn,
		      u32 at);

int conn_register(void);
void conn_unregister(void);

#endif

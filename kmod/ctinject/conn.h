/* SPDX-License-Identifier: GPL-2.0-only */
/* Connections that a rule has selected, and the phase of each. */
#ifndef CTINJECT_CONN_H
#define CTINJECT_CONN_H

#include <net/netfilter/nf_conntrack_helper.h>

#include "ctinject.h"
#include "segment.h"

extern bool conn_check_device;

/**
 * enum conn_synack - what a SYN-ACK of the server means
 * @CONN_SYNACK_OPENS: the server took the latest SYN, and none before
 * @CONN_SYNACK_AGAIN: one that was seen before, sent again
 * @CONN_SYNACK_FOREIGN: it does not belong to the connection as we know it
 */
enum conn_synack {
	CONN_SYNACK_OPENS,
	CONN_SYNACK_AGAIN,
	CONN_SYNACK_FOREIGN,
};

struct conn *conn_of(const struct nf_conn *ct, enum ctinject_format *format);
struct nf_conn *conn_find(struct net *net, const struct nf_conntrack_zone *zone,
			  const struct nf_conntrack_tuple *tuple, struct conn **conn,
			  enum ctinject_format *format);
bool conn_is_orphan(const struct flow *flow);
bool conn_translated(const struct nf_conn *ct);
int conn_device(const struct nf_hook_state *state);
int conn_oif(const struct nf_hook_state *state);

unsigned int conn_on_syn(struct sk_buff *skb, struct segment *seg, struct nf_conn *ct,
			 struct conn *conn, enum ctinject_format format,
			 const struct nf_hook_state *state);
enum conn_synack conn_on_synack(const struct sk_buff *skb, const struct segment *seg,
				struct nf_conn *ct, struct conn *conn);
void conn_unsettle(struct nf_conn *ct, struct conn *conn);
void conn_prove(struct nf_conn *ct, struct conn *conn, bool fin, u32 fin_end);
bool conn_behind_fin(const struct sk_buff *skb, const struct segment *seg, struct nf_conn *ct,
		     struct conn *conn);
int conn_spoil_cookie(struct sk_buff *skb, const struct segment *seg, const struct conn *conn,
		      u32 at);

void conn_end_ctframe(struct nf_conn *ct);
void conn_end_ctproxy(struct nf_conn *ct);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
/* The table of flows: connections whose sequence numbers differ on the two sides. */
#ifndef CTINJECT_FLOW_H
#define CTINJECT_FLOW_H

#include "ctinject.h"
#include "stats.h"

int flow_table_init(void);
void flow_table_exit(void);

struct flow *flow_find(const struct flow_key *key);
struct flow *flow_alloc(struct nf_conn *ct, struct conn *conn, enum ctinject_format format,
			enum stat_id *why);
struct flow *flow_publish(struct flow *flow, enum stat_id *why);
void flow_kill(struct flow *flow);
void flow_unlink(struct flow *flow);

void flow_each(void (*visit)(struct flow *flow, const void *data), const void *data);
void flow_net_exit(const struct net *net);

#endif

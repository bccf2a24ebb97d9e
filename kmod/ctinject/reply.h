/* SPDX-License-Identifier: GPL-2.0-only */
/* Looking up the connection that a packet from the server belongs to. */
#ifndef CTINJECT_REPLY_H
#define CTINJECT_REPLY_H

#include "ctinject.h"

struct nf_conn *reply_conntrack(struct net *net, const struct nf_conntrack_zone *zone,
				const struct nf_conntrack_tuple *tuple,
				enum ctinject_format *format);

#endif

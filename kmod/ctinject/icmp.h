/* SPDX-License-Identifier: GPL-2.0-only */
/* ICMP errors that quote a segment in server space. */
#ifndef CTINJECT_ICMP_H
#define CTINJECT_ICMP_H

#include "ctinject.h"

void icmp_correct(struct sk_buff *skb, const struct nf_conntrack_zone *zone,
		  const struct nf_hook_state *state);

#endif

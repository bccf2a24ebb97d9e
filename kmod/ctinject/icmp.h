/* SPDX-License-Identifier: GPL-2.0-only */
/* Translates the sequence numbers that ICMP errors quote. */
#ifndef CTINJECT_ICMP_H
#define CTINJECT_ICMP_H

#include "ctinject.h"

void icmp_correct(struct sk_buff *skb, const struct nf_conntrack_zone *zone,
		  const struct nf_hook_state *state);

#endif

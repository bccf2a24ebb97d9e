/* SPDX-License-Identifier: GPL-2.0-only */
/* The hook for packets to the server. */
#ifndef CTINJECT_FORWARD_H
#define CTINJECT_FORWARD_H

#include <linux/netfilter.h>

unsigned int hook_forward(void *priv, struct sk_buff *skb, const struct nf_hook_state *state);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
/* The hook for packets from the server. */
#ifndef CTINJECT_REPLY_H
#define CTINJECT_REPLY_H

#include <linux/netfilter.h>

unsigned int hook_reply(void *priv, struct sk_buff *skb, const struct nf_hook_state *state);

#endif

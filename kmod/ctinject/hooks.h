/* SPDX-License-Identifier: GPL-2.0-only */
/* Where packets come in. */
#ifndef CTINJECT_HOOKS_H
#define CTINJECT_HOOKS_H

#include <linux/netfilter.h>

#include "ctinject.h"

/*
 * Replies: behind defragmentation (-400) and raw (-300), where zones are set; before
 * conntrack (-200).
 */
#define HOOK_REPLY_PRIORITY (-250)
/* To the server: last before nf_confirm. */
#define HOOK_FORWARD_PRIORITY (INT_MAX - 1)

/* Their @priv is the namespace's struct ctinject_net. */
unsigned int hook_forward(void *priv, struct sk_buff *skb, const struct nf_hook_state *state);
unsigned int hook_reply(void *priv, struct sk_buff *skb, const struct nf_hook_state *state);

/* Whether no packet can pass the hooks of this namespace any more. */
static inline bool hooks_armed(const struct ctinject_net *cn)
{
	return smp_load_acquire(&cn->armed);	/* pairs with arm() */
}

int hooks_arm(struct net *net);
void hooks_want(struct ctinject_net *cn);

void hooks_net_init(struct net *net);
void hooks_net_pre_exit(struct net *net);
void hooks_net_exit(struct net *net);

#endif

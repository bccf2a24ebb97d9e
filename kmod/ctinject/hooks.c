// SPDX-License-Identifier: GPL-2.0-only
/*
 * Registers the hooks, in the network namespaces that need them.
 *
 * Each packet of a namespace pays for a hook, selected or not, and a module learns of a rule only
 * when the rule selects a packet. So the first selected packet of a namespace makes the hooks:
 * helper.c's help() drops it and asks for them, and the sender repeats it after a second. When root
 * reads /proc/net/ctinject, that registers them as well; then no packet is dropped.
 */

#include <linux/mutex.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "forward.h"
#include "hooks.h"
#include "limits.h"
#include "pernet.h"
#include "reply.h"

/*
 * Packets from the server: after defragmentation (-400) and raw (-300), where rules set zones, and
 * before conntrack (-200).
 */
#define HOOK_REPLY_PRIORITY (-250)
/* Packets to the server: last before nf_confirm. */
#define HOOK_FORWARD_PRIORITY (INT_MAX - 1)

static_assert(HOOK_REPLY_PRIORITY > NF_IP_PRI_RAW && HOOK_REPLY_PRIORITY < NF_IP_PRI_CONNTRACK);
static_assert(HOOK_REPLY_PRIORITY > NF_IP6_PRI_RAW && HOOK_REPLY_PRIORITY < NF_IP6_PRI_CONNTRACK);
static_assert(HOOK_FORWARD_PRIORITY < NF_IP_PRI_CONNTRACK_CONFIRM);
static_assert(HOOK_FORWARD_PRIORITY < NF_IP6_PRI_LAST);

/* Replies come first: their hooks must be there when hook_forward() passes a packet. */
static const struct nf_hook_ops hooks[] = {
	{ .hook = hook_reply, .pf = NFPROTO_IPV4, .hooknum = NF_INET_PRE_ROUTING,
	  .priority = HOOK_REPLY_PRIORITY },
	{ .hook = hook_reply, .pf = NFPROTO_IPV4, .hooknum = NF_INET_LOCAL_OUT,
	  .priority = HOOK_REPLY_PRIORITY },
	{ .hook = hook_forward, .pf = NFPROTO_IPV4, .hooknum = NF_INET_LOCAL_IN,
	  .priority = HOOK_FORWARD_PRIORITY },
	{ .hook = hook_forward, .pf = NFPROTO_IPV4, .hooknum = NF_INET_POST_ROUTING,
	  .priority = HOOK_FORWARD_PRIORITY },
	{ .hook = hook_reply, .pf = NFPROTO_IPV6, .hooknum = NF_INET_PRE_ROUTING,
	  .priority = HOOK_REPLY_PRIORITY },
	{ .hook = hook_reply, .pf = NFPROTO_IPV6, .hooknum = NF_INET_LOCAL_OUT,
	  .priority = HOOK_REPLY_PRIORITY },
	{ .hook = hook_forward, .pf = NFPROTO_IPV6, .hooknum = NF_INET_LOCAL_IN,
	  .priority = HOOK_FORWARD_PRIORITY },
	{ .hook = hook_forward, .pf = NFPROTO_IPV6, .hooknum = NF_INET_POST_ROUTING,
	  .priority = HOOK_FORWARD_PRIORITY },
};

/* Serializes the registration. The packet path only reads ctinject_net::armed. */
static DEFINE_MUTEX(arming);

static int arm(struct ctinject_net *cn)
{
	unsigned int i;
	int err;

	cn->server_ports = kvcalloc(BITS_TO_LONGS(PORTS), sizeof(long), GFP_KERNEL);
	cn->ops = kmemdup(hooks, sizeof(hooks), GFP_KERNEL);
	if (!cn->server_ports || !cn->ops) {
		err = -ENOMEM;
		goto failed;
	}
	for (i = 0; i < ARRAY_SIZE(hooks); i++)
		cn->ops[i].priv = cn;
	cn->used = true;
	err = nf_register_net_hooks(cn->net, cn->ops, ARRAY_SIZE(hooks));
	if (err)
		goto failed;
	/* Wait for packets that passed the hook points before the hooks were there. */
	synchronize_net();
	smp_store_release(&cn->armed, true);	/* pairs with pernet_armed() */
	return 0;

failed:
	/* If only some could be registered, a CPU may still be inside one of them. */
	synchronize_net();
	kfree(cn->ops);
	kvfree(cn->server_ports);
	cn->ops = NULL;
	cn->server_ports = NULL;
	return err;
}

/**
 * hooks_arm() - register the hooks of a namespace, unless they are registered or it gets none
 * @net: namespace
 *
 * Return: 0, or an error number. Process context.
 */
int hooks_arm(struct net *net)
{
	struct ctinject_net *cn = pernet_of(net);
	int err = 0;

	if (pernet_armed(cn) || !limits_serve(net))
		return 0;
	mutex_lock(&arming);
	if (!cn->gone && !cn->armed)
		err = arm(cn);
	mutex_unlock(&arming);
	return err;
}

static void arm_work(struct work_struct *work)
{
	hooks_arm(container_of(work, struct ctinject_net, arming)->net);
}

void hooks_net_init(struct net *net)
{
	struct ctinject_net *cn = pernet_of(net);

	cn->net = net;
	INIT_WORK(&cn->arming, arm_work);
}

/*
 * Not in ->pre_exit(), which would be before the rules of nft are gone: they would still translate
 * a connection, and nothing would mark it.
 */
void hooks_net_exit(struct net *net)
{
	struct ctinject_net *cn = pernet_of(net);

	mutex_lock(&arming);
	cn->gone = true;
	mutex_unlock(&arming);
	cancel_work_sync(&cn->arming);
	if (cn->armed) {
		nf_unregister_net_hooks(net, cn->ops, ARRAY_SIZE(hooks));
		synchronize_net();	/* no CPU is inside a hook any more */
	}
	kfree(cn->ops);
	kvfree(cn->server_ports);
}

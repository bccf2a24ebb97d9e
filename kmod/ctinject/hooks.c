// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where packets come in, in the namespaces that have a use for it.
 *
 * A hook costs every packet of its namespace something, selected or not, and a module learns
 * nothing of the rules until one of them has selected a packet. So the hooks come with the
 * first: conn.c's help() sees it behind the place where they would be, drops it, and asks for
 * them; its sender repeats it after a second. Reading /proc/net/ctinject asks as well, and
 * spares that packet.
 */

#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "forward.h"
#include "hooks.h"
#include "pernet.h"
#include "reply.h"

/*
 * Replies: behind defragmentation (-400) and raw (-300), where zones are set; before
 * conntrack (-200).
 */
#define HOOK_REPLY_PRIORITY (-250)
/* To the server: last before nf_confirm. */
#define HOOK_FORWARD_PRIORITY (INT_MAX - 1)

/* Replies first: they must be there for what hook_forward() lets through. */
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

/* One at a time. Packets only look at ctinject_net::armed. */
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
	err = nf_register_net_hooks(cn->net, cn->ops, ARRAY_SIZE(hooks));
	if (err)
		goto failed;
	/* A packet that is on its way may have passed the places where they are now. */
	synchronize_net();
	smp_store_release(&cn->armed, true);	/* and ops, server_ports: pernet_armed() */
	return 0;

failed:
	kfree(cn->ops);
	kvfree(cn->server_ports);
	cn->ops = NULL;
	cn->server_ports = NULL;
	return err;
}

/**
 * hooks_arm() - see to it that the hooks are in place
 * @net: namespace
 *
 * Return: 0, or why they could not be. Process context.
 */
int hooks_arm(struct net *net)
{
	struct ctinject_net *cn = pernet_of(net);
	int err = 0;

	if (pernet_armed(cn))
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

/* A grace period must pass between this and hooks_net_exit(): then nobody is inside a hook. */
void hooks_net_pre_exit(struct net *net)
{
	struct ctinject_net *cn = pernet_of(net);

	mutex_lock(&arming);
	cn->gone = true;
	if (cn->armed)
		nf_unregister_net_hooks(net, cn->ops, ARRAY_SIZE(hooks));
	mutex_unlock(&arming);
}

void hooks_net_exit(struct net *net)
{
	struct ctinject_net *cn = pernet_of(net);

	cancel_work_sync(&cn->arming);
	kfree(cn->ops);
	kvfree(cn->server_ports);
}

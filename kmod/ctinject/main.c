// SPDX-License-Identifier: GPL-2.0-only
/*
 * ctinject: writes the original destination of DNAT'ed connections into their byte stream.
 *
 * A rule gives a connection one of the conntrack helpers `ctframe` or `ctproxy`; nothing else is
 * touched. kmod/README.md has the rules, the parameters and the picture.
 *
 *	conn.c		which connections are ours, and how far each has come
 *	hooks.c		where packets come in
 *	forward.c	to the server: ctframe.c, ctproxy.c, datagram.c
 *	reply.c		from the server: the same, and icmp.c
 *	flow.c		connections with two sequence spaces; framemap.c: ctframe's
 *	segment.c	surgery on packets; tcpopt.c: TCP options
 *	header.c	the PROXY v2 header; keys.c: who signs it
 *	stats.c		/proc/net/ctinject
 *	unload.c	what becomes of connections at the end
 */

#include <linux/module.h>
#include <net/net_namespace.h>
#include <net/netns/generic.h>

#include "conn.h"
#include "ctinject.h"
#include "flow.h"
#include "hooks.h"
#include "keys.h"
#include "unload.h"

unsigned int ctinject_max_flows = 262144;
module_param_named(max_flows, ctinject_max_flows, uint, 0644);
MODULE_PARM_DESC(max_flows, "connections with two sequence spaces at once, of all namespaces");

unsigned int ctinject_max_frames = 8192;
module_param_named(max_frames, ctinject_max_frames, uint, 0644);
MODULE_PARM_DESC(max_frames, "ctframe: frames of a connection that are not acknowledged");

unsigned int ctinject_max_memory = 131072;
module_param_named(max_memory, ctinject_max_memory, uint, 0644);
MODULE_PARM_DESC(max_memory, "KiB for all flows and their frames");

bool ctinject_check_device = true;
module_param_named(check_device, ctinject_check_device, bool, 0644);
MODULE_PARM_DESC(check_device, "believe a reply only from the device that leads to the server");

bool ctinject_closing;

static unsigned int pernet_id __read_mostly;

struct ctinject_net *ctinject_pernet(const struct net *net)
{
	return net_generic(net, pernet_id);
}

static int __net_init net_init(struct net *net)
{
	int err;

	err = stats_net_init(net);
	if (err)
		return err;
	err = keys_net_init(net);
	if (err)
		goto no_keys;
	hooks_net_init(net);
	return 0;

no_keys:
	stats_net_exit(net);
	return err;
}

static void __net_exit net_pre_exit(struct net *net)
{
	hooks_net_pre_exit(net);
}

static void __net_exit net_exit(struct net *net)
{
	hooks_net_exit(net);
	flow_net_exit(net);
	keys_net_exit(net);
	stats_net_exit(net);
}

static struct pernet_operations net_ops = {
	.init = net_init,
	.pre_exit = net_pre_exit,
	.exit = net_exit,
	.id = &pernet_id,
	.size = sizeof(struct ctinject_net),
};

static int __init ctinject_init(void)
{
	int err;

	err = flow_table_init();
	if (err)
		return err;
	err = register_pernet_subsys(&net_ops);
	if (err)
		goto no_net;
	err = conn_register();
	if (err)
		goto no_helpers;
	return 0;

no_helpers:
	unregister_pernet_subsys(&net_ops);
no_net:
	flow_table_exit();
	return err;
}

static void __exit ctinject_exit(void)
{
	/* The hooks stand until nothing is left that must not pass without them. */
	WRITE_ONCE(ctinject_closing, true);
	unload_connections();
	conn_unregister();
	unregister_pernet_subsys(&net_ops);
	flow_table_exit();
}

module_init(ctinject_init);
module_exit(ctinject_exit);

MODULE_DESCRIPTION("Writes the original destination of DNAT'ed connections into their byte stream");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
MODULE_ALIAS_NFCT_HELPER("ctframe");
MODULE_ALIAS_NFCT_HELPER("ctproxy");

// SPDX-License-Identifier: GPL-2.0-only
/*
 * ctinject: writes the original destination of DNAT'ed connections into their byte stream.
 *
 * A rule gives a connection one of the conntrack helpers `ctframe` or `ctproxy`; nothing else is
 * touched. kmod/README.md explains rules, parameters and hooks.
 *
 *	main.c		registers and unregisters everything
 *	conn.c		which connections are ours, and how far each has come
 *	helper.c	the conntrack helpers that rules name
 *	selftest.c	shows that this kernel treats the helpers as we expect
 *	hooks.c		registers the netfilter hooks
 *	forward.c	packets to the server, for ctframe.c, ctproxy.c or datagram.c
 *	reply.c		packets from the server, for ctframe.c, ctproxy.c or icmp.c
 *	flow.c		the table of connections with two sequence spaces
 *	sweep.c		removes flows that ->destroy() cannot remove
 *	framing.c	puts the headers of ctframe's frames into a segment
 *	framemap.c	where the frames of a ctframe connection begin
 *	segment.c	finds the parts of packets, and changes them
 *	answer.c	builds segments in the client's name
 *	tcpopt.c	reads and changes TCP options
 *	header.c	builds the PROXY v2 header
 *	keys.c		keys that sign it, and /proc/net/ctinject_keys
 *	unload.c	ends connections when the module is unloaded
 *	pernet.c	state of a network namespace
 *	limits.c	bounds of flows, frames and memory
 *	stats.c		counters
 *	procfs.c	/proc/net/ctinject, which shows them
 *
 * No file includes or calls, directly or through others, a file that uses it. ctinject.h has the
 * data types that most of them share.
 */

#include <linux/module.h>
#include <net/net_namespace.h>

#include "flow.h"
#include "helper.h"
#include "hooks.h"
#include "keys.h"
#include "pernet.h"
#include "procfs.h"
#include "selftest.h"
#include "stats.h"
#include "sweep.h"
#include "unload.h"

static int __net_init net_init(struct net *net)
{
	int err;

	err = stats_net_init(net);
	if (err)
		return err;
	hooks_net_init(net);
	err = keys_net_init(net);
	if (err)
		goto no_keys;
	/* Last: from here on a reader of the file can register the hooks. */
	err = procfs_net_init(net);
	if (err)
		goto no_procfs;
	return 0;

no_procfs:
	keys_net_exit(net);
no_keys:
	stats_net_exit(net);
	return err;
}

static void __net_exit net_exit(struct net *net)
{
	procfs_net_exit(net);
	hooks_net_exit(net);
	flow_net_exit(net);
	keys_net_exit(net);
	stats_net_exit(net);
}

static struct pernet_operations net_ops = {
	.init = net_init,
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
	err = helper_register();
	if (err)
		goto no_helpers;
	err = selftest();
	if (err)
		goto no_trust;
	helper_offer();
	sweep_start();
	return 0;

no_trust:
	helper_unregister();
no_helpers:
	unregister_pernet_subsys(&net_ops);
no_net:
	flow_table_exit();
	return err;
}

static void __exit ctinject_exit(void)
{
	/* The hooks stand until nothing is left that must not pass without them. */
	unload_connections();
	helper_unregister();
	unregister_pernet_subsys(&net_ops);
	sweep_stop();
	flow_table_exit();
}

module_init(ctinject_init);
module_exit(ctinject_exit);

MODULE_DESCRIPTION("Writes the original destination of DNAT'ed connections into their byte stream");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
MODULE_ALIAS_NFCT_HELPER("ctframe");
MODULE_ALIAS_NFCT_HELPER("ctproxy");

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Finds what a network namespace has of its own. main.c registers it with the kernel; each file
 * sets up the members that it works with.
 */

#include <net/netns/generic.h>

#include "pernet.h"

unsigned int pernet_id __read_mostly;

struct ctinject_net *pernet_of(const struct net *net)
{
	return net_generic(net, pernet_id);
}

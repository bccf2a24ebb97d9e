/* SPDX-License-Identifier: GPL-2.0-only */
/* Registers the hooks, in the network namespaces that need them. */
#ifndef CTINJECT_HOOKS_H
#define CTINJECT_HOOKS_H

struct net;

int hooks_arm(struct net *net);

void hooks_net_init(struct net *net);
void hooks_net_exit(struct net *net);

#endif

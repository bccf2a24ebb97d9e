/* SPDX-License-Identifier: GPL-2.0-only */
/* The file /proc/net/ctinject. */
#ifndef CTINJECT_PROCFS_H
#define CTINJECT_PROCFS_H

struct net;

int procfs_net_init(struct net *net);
void procfs_net_exit(struct net *net);

#endif

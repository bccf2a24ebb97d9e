/* SPDX-License-Identifier: GPL-2.0-only */
/* The conntrack helpers that rules name. */
#ifndef CTINJECT_HELPER_H
#define CTINJECT_HELPER_H

struct nf_conn;

int helper_register(void);
void helper_offer(void);
void helper_unregister(void);
void helper_detach(struct nf_conn *ct);

#endif

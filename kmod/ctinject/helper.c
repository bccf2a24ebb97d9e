// SPDX-License-Identifier: GPL-2.0-only
/*
 * The conntrack helpers that rules name. A rule selects a connection by giving one of them to it;
 * conn.c recognises such a connection.
 *
 * A helper that is registered is not offered yet: rules cannot have it before selftest.c has shown
 * that this kernel treats it as we expect.
 */

#include <linux/module.h>
#include <net/netfilter/nf_conntrack_core.h>
#include <net/netfilter/nf_conntrack_expect.h>

#include "compat.h"
#include "conn.h"
#include "helper.h"
#include "limits.h"
#include "pernet.h"
#include "stats.h"

static const struct {
	const char *name;
	u8 family;
	u8 protocol;
	void (*destroy)(struct nf_conn *ct);
} kinds[] = {
	{ "ctframe", NFPROTO_IPV4, IPPROTO_TCP, conn_end_ctframe },
	{ "ctframe", NFPROTO_IPV4, IPPROTO_UDP, conn_end_ctframe },
	{ "ctproxy", NFPROTO_IPV4, IPPROTO_TCP, conn_end_ctproxy },
	{ "ctproxy", NFPROTO_IPV4, IPPROTO_UDP, conn_end_ctproxy },
	{ "ctproxy", NFPROTO_IPV6, IPPROTO_TCP, conn_end_ctproxy },
	{ "ctproxy", NFPROTO_IPV6, IPPROTO_UDP, conn_end_ctproxy },
};

static struct nf_conntrack_helper helpers[ARRAY_SIZE(kinds)] __read_mostly;
static struct nf_conntrack_helper *registered[ARRAY_SIZE(kinds)];

/* A rule takes a reference of its helper's module, and of this one there is none to be had. */
static struct module nobody = { .state = MODULE_STATE_GOING };

/*
 * Drops the first packet of a namespace that has no hooks yet, so that it does not leave unmarked,
 * and asks for the hooks. With hooks it does nothing: they can send additional packets, which needs
 * the hook state that a helper does not get.
 */
static int help(struct sk_buff *skb, unsigned int offset, struct nf_conn *ct,
		enum ip_conntrack_info ctinfo)
{
	struct ctinject_net *cn = pernet_of(nf_ct_net(ct));
	enum ctinject_format format;
	const struct conn *conn = conn_of(ct, &format);

	if (!conn)
		return stats_drop(cn->net, STAT_drop_early);
	if (READ_ONCE(conn->phase) != CONN_NEW || !conn_translated(ct))
		return NF_ACCEPT;
	if (pernet_armed(cn))
		return NF_ACCEPT;
	if (!limits_serve(cn->net))
		return stats_drop(cn->net, STAT_drop_user_namespace);
	pernet_want_hooks(cn);
	return stats_drop(cn->net, STAT_drop_unarmed);
}

static const struct nf_conntrack_expect_policy no_expectations = {
	.max_expected = 1,
	.timeout = 1,
};

/* Registers the helpers. No rule can have one before helper_offer(). */
int helper_register(void)
{
	unsigned int i;

	static_assert(sizeof(struct conn) <= sizeof_field(struct nf_conn_help, data));
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		compat_helper_init(&helpers[i], kinds[i].family, kinds[i].protocol, kinds[i].name,
				   i + 1, help, &no_expectations);
		helpers[i].me = &nobody;
		helpers[i].data_len = sizeof(struct conn);
		helpers[i].destroy = kinds[i].destroy;
	}
	return compat_helpers_register(helpers, ARRAY_SIZE(helpers), registered);
}

void helper_offer(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(registered); i++)
		WRITE_ONCE(registered[i]->me, THIS_MODULE);
}

/**
 * helper_detach() - take our helper away from a connection
 * @ct: its conntrack, which cannot be freed meanwhile
 *
 * After a grace period nobody calls our functions for this connection any more.
 */
void helper_detach(struct nf_conn *ct)
{
	struct nf_conn_help *extension = nfct_help(ct);
	struct nf_conntrack_helper *helper = rcu_dereference_raw(extension->helper);

	RCU_INIT_POINTER(extension->helper, NULL);
	compat_helper_put(helper);
}

static int detach_ours(struct nf_conn *ct, void *unused)
{
	enum ctinject_format format;
	bool is_ours;

	rcu_read_lock();
	is_ours = conn_of(ct, &format);
	rcu_read_unlock();
	if (is_ours)
		helper_detach(ct);
	return 0;	/* the connection stays */
}

/*
 * Afterwards no confirmed connection has one of our helpers, and no CPU is inside one of their
 * functions. nf_ct_iterate_destroy() drops what is queued for user space, and each packet of an
 * unconfirmed connection is dropped or confirmed within a grace period. The second call is for
 * those that were confirmed behind the first one.
 */
void helper_unregister(void)
{
	compat_helpers_unregister(helpers, ARRAY_SIZE(helpers), registered);
	/* It holds the connection's lock meanwhile, and waits for a grace period at the end. */
	nf_ct_iterate_destroy(detach_ours, NULL);
	nf_ct_iterate_destroy(detach_ours, NULL);
}

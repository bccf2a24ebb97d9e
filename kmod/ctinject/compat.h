/* SPDX-License-Identifier: GPL-2.0-only */
/* Differences between the supported kernels. No other file compares kernel versions. */
#ifndef CTINJECT_COMPAT_H
#define CTINJECT_COMPAT_H

#include <crypto/blake2s.h>
#include <linux/version.h>
#include <net/netfilter/nf_conntrack_helper.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#include <linux/hex.h>
#include <linux/unaligned.h>
#else
#include <asm/unaligned.h>
#endif

/* The keyed BLAKE2s digest of @in. */
static inline void compat_blake2s(u8 *out, size_t out_len, const u8 *key, size_t key_len,
				  const u8 *in, size_t in_len)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
	blake2s(key, key_len, in, in_len, out, out_len);
#else
	blake2s(out, in, key, out_len, in_len, key_len);
#endif
}

typedef int (*compat_help)(struct sk_buff *skb, unsigned int offset, struct nf_conn *ct,
			   enum ip_conntrack_info ctinfo);

/* @port: different for each helper of a protocol, where helpers still have one. */
static inline void compat_helper_init(struct nf_conntrack_helper *helper, u8 family, u8 protocol,
				      const char *name, u16 port, compat_help help,
				      const struct nf_conntrack_expect_policy *policy)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 3, 0)
	nf_ct_helper_init(helper, family, protocol, name, policy, 0, help, NULL, THIS_MODULE);
#else
	nf_ct_helper_init(helper, family, protocol, name, port, port, 0, policy, 0, help, NULL,
			  THIS_MODULE);
#endif
}

/*
 * Registers @helpers, and sets @registered to what conntrack gives to connections: the helpers
 * themselves, or from 7.2 on copies, which are freed when no connection has them any more. There
 * unregistering does not take a helper away from its connections.
 */
static inline int compat_helpers_register(struct nf_conntrack_helper *helpers, unsigned int count,
					  struct nf_conntrack_helper **registered)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
	return nf_conntrack_helpers_register(helpers, count, registered);
#else
	unsigned int i;

	for (i = 0; i < count; i++)
		registered[i] = &helpers[i];
	return nf_conntrack_helpers_register(helpers, count);
#endif
}

static inline void compat_helpers_unregister(struct nf_conntrack_helper *helpers,
					     unsigned int count,
					     struct nf_conntrack_helper **registered)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
	nf_conntrack_helpers_unregister(registered, count);
#else
	nf_conntrack_helpers_unregister(helpers, count);
#endif
}

/* Gives back the reference of a connection that loses its helper. */
static inline void compat_helper_put(struct nf_conntrack_helper *helper)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
	if (refcount_dec_and_test(&helper->ct_refcnt))
		kfree_rcu(helper, rcu);
#endif
}

#endif

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Limits of flows, frames and memory, and the allocator of the frame maps, which obeys them.
 *
 * Each network namespace has an account of its own, so none can use up what another one needs. A
 * user who may make user namespaces can make any number of network namespaces, whose accounts would
 * bound nothing. So these get nothing, or, with user_namespaces, they share one account besides.
 */

#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <linux/user_namespace.h>
#include <net/net_namespace.h>

#include "framemap_port.h"
#include "limits.h"

static unsigned int max_flows = 262144;
module_param(max_flows, uint, 0644);
MODULE_PARM_DESC(max_flows, "connections with two sequence spaces at once, of a namespace");

static unsigned int max_memory = 131072;
module_param(max_memory, uint, 0644);
MODULE_PARM_DESC(max_memory, "KiB for all flows of a namespace and their frames");

unsigned int limits_frames = 8192;
module_param_named(max_frames, limits_frames, uint, 0644);
MODULE_PARM_DESC(max_frames, "ctframe: frames of a connection that are not acknowledged");

static bool user_namespaces;
module_param(user_namespaces, bool, 0644);
MODULE_PARM_DESC(user_namespaces, "also serve namespaces that belong to a user namespace");

/* Of all namespaces that belong to a user namespace. */
static struct limits_account users;

static bool is_users(const struct net *net)
{
	return net->user_ns != &init_user_ns;
}

/* Whether a namespace that has no hooks yet may get them. */
bool limits_serve(const struct net *net)
{
	return !is_users(net) || READ_ONCE(user_namespaces);
}

static long limit_of(enum limits_resource what)
{
	if (what == LIMITS_FLOWS)
		return READ_ONCE(max_flows);
	return (long)READ_ONCE(max_memory) << 10;
}

static bool take(struct limits_account *account, enum limits_resource what, long amount)
{
	if (atomic_long_add_return(amount, &account->used[what]) <= limit_of(what))
		return true;
	atomic_long_sub(amount, &account->used[what]);
	return false;
}

/* Takes @amount of what a namespace may use; false if that is not left. */
bool limits_take(const struct net *net, enum limits_resource what, long amount)
{
	struct limits_account *own = &pernet_of(net)->account;

	if (!take(own, what, amount))
		return false;
	if (!is_users(net) || take(&users, what, amount))
		return true;
	atomic_long_sub(amount, &own->used[what]);
	return false;
}

/* Gives back what limits_take() has taken, before the namespace ends. */
void limits_give(const struct net *net, enum limits_resource what, long amount)
{
	atomic_long_sub(amount, &pernet_of(net)->account.used[what]);
	if (is_users(net))
		atomic_long_sub(amount, &users.used[what]);
}

/* Bytes that a namespace uses now. */
long limits_memory(const struct net *net)
{
	return atomic_long_read(&pernet_of(net)->account.used[LIMITS_BYTES]);
}

void *framemap_alloc(const void *account, size_t bytes)
{
	void *memory;

	if (!limits_take(account, LIMITS_BYTES, bytes))
		return NULL;
	memory = kmalloc(bytes, GFP_ATOMIC | __GFP_NOWARN);
	if (!memory)
		limits_give(account, LIMITS_BYTES, bytes);
	return memory;
}

void framemap_free(const void *account, void *memory, size_t bytes)
{
	kfree(memory);
	limits_give(account, LIMITS_BYTES, bytes);
}

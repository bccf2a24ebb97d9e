// SPDX-License-Identifier: GPL-2.0-only
/*
 * The table of flows, keyed by namespace, zone and reply tuple.
 *
 * Life of a flow: flow_alloc(); its format fills it in; flow_publish(). From then on the reply hook
 * finds it in the table, and others find it through conn->flow. flow_kill(), or flow_unlink() with
 * the lock held, removes it exactly once, and it is freed after a grace period.
 *
 * A flow holds a reference to its conntrack. ->destroy() of the conntrack kills the flow; sweep.c
 * removes those for which ->destroy() is not called.
 */

#include <linux/slab.h>
#include <net/netfilter/nf_conntrack_zones.h>

#include "flow.h"
#include "limits.h"
#include "pernet.h"

static struct rhashtable table;
static struct kmem_cache *cache;

static const struct rhashtable_params params = {
	.key_len = sizeof(struct flow_key),
	.key_offset = offsetof(struct flow, key),
	.head_offset = offsetof(struct flow, node),
	.automatic_shrinking = true,
};

struct flow *flow_find(const struct flow_key *key)
{
	return rhashtable_lookup_fast(&table, key, params);
}

static void flow_set_key(struct flow_key *key, const struct nf_conn *ct)
{
	const struct nf_conntrack_tuple *reply = nf_ct_tuple(ct, IP_CT_DIR_REPLY);

	memset(key, 0, sizeof(*key));
	key->net = nf_ct_net(ct);
	key->family = nf_ct_l3num(ct);
	key->zone = nf_ct_zone_id(nf_ct_zone(ct), IP_CT_DIR_REPLY);
	if (key->family == NFPROTO_IPV4) {
		key->server.ip = reply->src.u3.ip;
		key->client.ip = reply->dst.u3.ip;
	} else {
		key->server.in6 = reply->src.u3.in6;
		key->client.in6 = reply->dst.u3.in6;
	}
	key->server_port = reply->src.u.tcp.port;
	key->client_port = reply->dst.u.tcp.port;
}

/**
 * flow_alloc() - make a flow that is not in the table yet
 * @ct: its conntrack, confirmed
 * @conn: the helper data of @ct
 * @format: which union member the caller is going to fill in
 * @why: on failure, set to the counter of the dropped packet
 *
 * Return: the flow, or NULL when a limit is reached or memory is short. Atomic context.
 */
struct flow *flow_alloc(struct nf_conn *ct, struct conn *conn, enum ctinject_format format,
			enum stat_id *why)
{
	const struct net *net = nf_ct_net(ct);
	struct flow *flow;

	*why = STAT_drop_flow_limit;
	if (!limits_take(net, LIMITS_FLOWS, 1))
		return NULL;
	*why = STAT_drop_memory;
	if (!limits_take(net, LIMITS_BYTES, sizeof(*flow)))
		goto no_memory;
	flow = kmem_cache_zalloc(cache, GFP_ATOMIC | __GFP_NOWARN);
	if (!flow)
		goto no_flow;
	flow_set_key(&flow->key, ct);
	flow->ct = ct;
	flow->conn = conn;
	flow->format = format;
	flow->ifindex = READ_ONCE(conn->ifindex);
	flow->oif = flow->ifindex;
	spin_lock_init(&flow->lock);
	return flow;

no_flow:
	limits_give(net, LIMITS_BYTES, sizeof(*flow));
no_memory:
	limits_give(net, LIMITS_FLOWS, 1);
	return NULL;
}

static void flow_free(struct flow *flow)
{
	if (flow->format == CTINJECT_CTFRAME)
		framemap_release(&flow->map);
	limits_give(flow->key.net, LIMITS_BYTES, sizeof(*flow));
	limits_give(flow->key.net, LIMITS_FLOWS, 1);
	kmem_cache_free(cache, flow);
}

static void flow_free_rcu(struct rcu_head *rcu)
{
	struct flow *flow = container_of(rcu, struct flow, rcu);
	struct nf_conn *ct = flow->ct;

	flow_free(flow);
	nf_ct_put(ct);
}

/**
 * flow_publish() - put a flow into the table and into its conn
 * @flow: from flow_alloc(), filled in; the caller must not use it afterwards
 * @why: on failure, set to the counter of the dropped packet
 *
 * Two CPUs may publish a flow of the same connection at once; the first one in the table stays. An
 * entry with the same key but another conn belongs to a conntrack that is being destroyed: it is
 * killed.
 *
 * Return: the connection's flow, which may be another CPU's; NULL when the conntrack is dying or
 * memory is short. Caller holds rcu_read_lock().
 */
struct flow *flow_publish(struct flow *flow, enum stat_id *why)
{
	struct conn *conn = flow->conn;
	struct nf_conn *ct = flow->ct;
	struct flow *old;

again:
	/* Holding the lock keeps others from using the flow before conn->flow is set. */
	spin_lock_bh(&flow->lock);
	old = rhashtable_lookup_get_insert_fast(&table, &flow->node, params);
	if (!old) {
		nf_conntrack_get(&ct->ct_general);
		atomic_inc(&pernet_of(flow->key.net)->flows);
		WRITE_ONCE(conn->flow, flow);
	}
	spin_unlock_bh(&flow->lock);
	if (IS_ERR(old)) {
		flow_free(flow);
		*why = STAT_drop_memory;
		return NULL;
	}
	if (old && old->conn != conn) {
		flow_kill(old);
		goto again;
	}
	if (old) {
		flow_free(flow);
		return old;
	}
	/*
	 * Pairs with the atomic bit operation in nf_ct_delete(), which precedes ->destroy(): either
	 * ->destroy() sees conn->flow, or we see the bit.
	 */
	smp_mb();
	if (nf_ct_is_dying(ct)) {
		flow_kill(flow);
		*why = STAT_drop_early;
		return NULL;
	}
	return flow;
}

/* Removes a flow, unless it was removed. Caller holds flow->lock and rcu_read_lock(). */
void flow_unlink(struct flow *flow)
{
	if (flow->dead)
		return;
	flow->dead = true;
	WRITE_ONCE(flow->conn->flow, NULL);
	rhashtable_remove_fast(&table, &flow->node, params);
	atomic_dec(&pernet_of(flow->key.net)->flows);
	call_rcu(&flow->rcu, flow_free_rcu);
}

/* Removes a flow, unless it was removed. Caller holds rcu_read_lock(). */
void flow_kill(struct flow *flow)
{
	spin_lock_bh(&flow->lock);
	flow_unlink(flow);
	spin_unlock_bh(&flow->lock);
}

/* Calls @visit for each flow, under RCU and without a lock. Process context. */
void flow_each(void (*visit)(struct flow *flow, const void *data), const void *data)
{
	struct rhashtable_iter iter;
	unsigned int visited = 0;
	struct flow *flow;

	rhashtable_walk_enter(&table, &iter);
	rhashtable_walk_start(&iter);
	while ((flow = rhashtable_walk_next(&iter))) {
		/* An error says that the table was resized; some flows may be visited twice. */
		if (!IS_ERR(flow))
			visit(flow, data);
		if (++visited % 256)
			continue;
		rhashtable_walk_stop(&iter);
		cond_resched();
		rhashtable_walk_start(&iter);
	}
	rhashtable_walk_stop(&iter);
	rhashtable_walk_exit(&iter);
}

static void kill_if_in(struct flow *flow, const void *net)
{
	if (flow->key.net == net)
		flow_kill(flow);
}

/*
 * Releases the references to conntracks, for which the end of a namespace waits, and gives back
 * what the flows have taken of its account, which ends with it.
 */
void flow_net_exit(const struct net *net)
{
	if (!pernet_of(net)->used)
		return;
	flow_each(kill_if_in, net);
	/* First for those that are killing a flow, then for those that were killed. */
	synchronize_rcu();
	rcu_barrier();
}

int flow_table_init(void)
{
	int err;

	cache = kmem_cache_create("ctinject_flow", sizeof(struct flow), 0, SLAB_HWCACHE_ALIGN,
				  NULL);
	if (!cache)
		return -ENOMEM;
	err = rhashtable_init(&table, &params);
	if (err)
		kmem_cache_destroy(cache);
	return err;
}

/* Caller has unregistered all namespaces, so no flow is left. */
void flow_table_exit(void)
{
	rhashtable_destroy(&table);
	kmem_cache_destroy(cache);
}

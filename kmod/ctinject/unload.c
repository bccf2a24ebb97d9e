// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ends connections when the module is unloaded.
 *
 * Without the module, the client's bytes would stand where a header belongs. So each connection
 * whose numbers are translated, or whose header is not acknowledged, is ended: its server gets a
 * reset with the exact number, and its conntrack is deleted. The client learns of it when the
 * server answers the client's next packet. Until then hook_forward() drops all packets.
 *
 * The conntracks of UDP are deleted too, since their datagrams would be translated and pass
 * unmarked. A ctproxy connection whose header is acknowledged does not need the module and stays.
 */

#include <linux/rhashtable.h>
#include <net/netfilter/nf_conntrack.h>

#include "answer.h"
#include "conn.h"
#include "ctframe.h"
#include "flow.h"
#include "unload.h"

bool unload_begun;

static void send_reset(const struct flow *flow, u32 seq, u32 mark)
{
	struct answer answer = {
		.th = { .seq = htonl(seq), .rst = 1 },
		.mark = mark,
		.oif = READ_ONCE(flow->oif),
	};

	answer_send(&flow->key, &answer);
}

/* The most numbers that are tried for one server. */
#define PLACES_MAX 32

/*
 * The numbers that the server may expect next. ctframe: the last ack, and the end of each later
 * frame, since an ack may be on its way. ctproxy: the numbers before and behind the header. Under
 * flow->lock.
 */
static unsigned int find_places(const struct flow *flow, u32 *places)
{
	const struct framemap *map = &flow->map;
	unsigned int count = 0, i;

	if (flow->format == CTINJECT_CTPROXY) {
		places[count++] = flow->first - flow->header_len;
		places[count++] = flow->first;
		return count;
	}
	places[count++] = map->raw;
	for (i = 1; i < map->count && count < PLACES_MAX - 1; i++)
		places[count++] = framemap_forward(map, framemap_frame(map, i).seq);
	places[count++] = framemap_forward(map, map->max);
	return count;
}

/* A server obeys only the reset with the number that it expects; it ignores the others. */
static void reset_server(struct flow *flow, const void *unused)
{
	u32 places[PLACES_MAX], mark;
	unsigned int count, i;

	spin_lock_bh(&flow->lock);
	count = find_places(flow, places);
	mark = flow->format == CTINJECT_CTPROXY ? flow->mark : 0;
	spin_unlock_bh(&flow->lock);
	for (i = 0; i < count; i++)
		send_reset(flow, places[i], mark);
}

/* Whether a connection cannot go on without the module. */
static int needs_us(struct nf_conn *ct, void *unused)
{
	enum ctinject_format format;
	struct conn *conn;
	int needs = 0;

	rcu_read_lock();
	conn = conn_of(ct, &format);
	if (conn && nf_ct_protonum(ct) == IPPROTO_UDP)
		needs = conn_translated(ct);
	else if (conn)
		needs = conn->phase != CONN_DIRECT &&
			!(conn->phase == CONN_PROVEN && format == CTINJECT_CTPROXY);
	rcu_read_unlock();
	return needs;
}

/* A ctframe connection has no flow before its first byte: make one, for reset_server(). */
static int give_flow(struct nf_conn *ct, void *unused)
{
	enum ctinject_format format;
	struct conn *conn;
	enum stat_id why;

	rcu_read_lock();
	conn = conn_of(ct, &format);
	if (conn && format == CTINJECT_CTFRAME && nf_ct_protonum(ct) == IPPROTO_TCP &&
	    conn->phase >= CONN_OPEN && !READ_ONCE(conn->flow))
		ctframe_open(ct, conn, &why);
	rcu_read_unlock();
	return 0;
}

void unload_connections(void)
{
	WRITE_ONCE(unload_begun, true);
	nf_ct_iterate_destroy(give_flow, NULL);
	flow_each(reset_server, NULL);
	nf_ct_iterate_destroy(needs_us, NULL);
}

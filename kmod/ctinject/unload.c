// SPDX-License-Identifier: GPL-2.0-only
/*
 * What an unload does to connections.
 *
 * A connection whose numbers we translate, or whose header is not acknowledged, cannot go on
 * without us, and must not: the client's bytes would stand where a header belongs. Its server
 * is sent a reset with the exact number, and its conntrack goes. The client learns of it by
 * the server's answer to what it sends next. Nothing passes meanwhile: hook_forward() drops.
 *
 * The conntracks of UDP go too: their datagrams would pass unmarked, translated as before. A
 * ctproxy connection whose header has arrived stays: it has needed nobody since.
 */

#include <linux/rhashtable.h>
#include <net/netfilter/nf_conntrack.h>

#include "conn.h"
#include "ctframe.h"
#include "flow.h"
#include "segment.h"
#include "unload.h"

bool unload_begun;

static void send_reset(const struct flow *flow, u32 seq, u32 mark)
{
	struct answer answer = {
		.th = { .seq = htonl(seq), .rst = 1 },
		.mark = mark,
	};

	segment_answer(&flow->key, &answer);
}

/* Where the server can stand, as far as we know: at most so many numbers are tried. */
#define PLACES_MAX 32

/*
 * ctframe: the last ack, and each end of a frame behind it, since an ack may be on its way.
 * ctproxy: before or behind the header. Under flow->lock.
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

/* A reset counts at the exact number only; at the others it is as if it had not been sent. */
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

/* Whether a connection needs us for the rest of its life. */
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

/* A ctframe connection has no flow before its first byte, and is reset by way of one. */
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

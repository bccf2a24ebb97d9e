// SPDX-License-Identifier: GPL-2.0-only
/*
 * Connections that a rule has selected, and the phase of each.
 *
 * A rule selects a connection by assigning one of the module's conntrack helpers to it. The 32
 * bytes that conntrack keeps for the helper are the connection's struct conn.
 *
 *	         SYN        SYN-ACK for the latest SYN    answer that only a socket sends
 *	NEW ------------> SYN -----------------------> OPEN ------------------------> PROVEN
 *	 |                                              ^                               |
 *	 | not translated                               +-------------------------------+
 *	 v                                                another SYN and its SYN-ACK: the
 *	DIRECT                                            server has forgotten the connection
 *
 * The attacker is the client: it can send any segment at any time, and it sees the server's
 * answers. It must not get a server socket whose first bytes are the client's own. A server makes
 * a socket in two cases.
 *
 * It has accepted a SYN. Then the phases protect the beginning of the stream:
 *  - NEW: drop a connection that conntrack has picked up in mid-stream. It is unknown where in the
 *    stream its header belongs.
 *  - SYN: pass only SYN and RST. Only the server knows which SYN it has accepted.
 *  - OPEN: accept one SYN-ACK. Acks must be of what that SYN-ACK began.
 *  - PROVEN: the server has a socket, and the header's place in the stream is taken.
 *
 * Or a segment brings back a SYN cookie (docs/injectors.md#syn-cookies). For given addresses and
 * ports and within a minute, a cookie is a constant plus the client's number (tcp_syncookies.c).
 * So a segment brings back a cookie if its seq is as far ahead of the SYN's as its ack is ahead of
 * the SYN-ACK's; the two distances may differ by the index of an MSS. While cookies are valid:
 *  - OPEN: the ack is known, so the cookie fits one seq only, and there only the header or a bare
 *    ack passes. A client that also has a cookie of the previous minute can make the same ack fit
 *    a second seq, up to 2^25 ahead. For that, ctframe passes only frames with their headers, and
 *    ctproxy passes only the first window behind the header.
 *  - PROVEN: the server may have lost its socket. See conn_spoil_cookie().
 */

#include <linux/module.h>
#include <net/l3mdev.h>
#include <net/netfilter/nf_conntrack_core.h>
#include <net/tcp.h>

#include "conn.h"
#include "flow.h"
#include "header.h"
#include "keys.h"
#include "pernet.h"
#include "segment.h"
#include "stats.h"
#include "tcpopt.h"

bool conn_check_device = true;
module_param_named(check_device, conn_check_device, bool, 0644);
MODULE_PARM_DESC(check_device, "believe a reply only from the device that leads to the server");

/*
 * A cookie contains an index of four MSS values, 0 to 3. It makes the number differ by that much.
 */
#define COOKIE_SLACK 3u

/* Seconds after which no cookie is valid any more: two minutes, and a margin. */
#define COOKIE_LIFE 180

/*
 * Whether a helper is ours, and its format. Its ->destroy() tells: the address of the helper itself
 * does not, because kernels from 7.2 on make a copy of what is registered. Unlike ->help(), it
 * stays in a helper that is unregistered, so the hooks go on dropping during the unload.
 */
static bool is_ours(const struct nf_conntrack_helper *helper, enum ctinject_format *format)
{
	*format = helper->destroy == conn_end_ctframe ? CTINJECT_CTFRAME : CTINJECT_CTPROXY;
	return helper->destroy == conn_end_ctframe || helper->destroy == conn_end_ctproxy;
}

/*
 * The struct conn of a connection that has one of our helpers, else NULL. Under RCU.
 *
 * Look it up once for each packet. In Linux 6.1 it can be gone at the next look: when any helper is
 * unregistered, the extensions of unconfirmed conntracks become invalid (nf_ct_ext_bump_genid()).
 * Their memory stays, and nf_confirm() then drops the packet.
 */
struct conn *conn_of(const struct nf_conn *ct, enum ctinject_format *format)
{
	const struct nf_conn_help *help = nfct_help(ct);
	const struct nf_conntrack_helper *helper;

	if (!help)
		return NULL;
	helper = rcu_dereference(help->helper);
	if (!helper || !is_ours(helper, format))
		return NULL;
	return (struct conn *)help->data;
}

/**
 * conn_find() - find the connection of a packet from the server
 * @net: namespace
 * @zone: zone of the packet
 * @tuple: addresses and ports of the packet
 * @conn: set to its data, if there is a connection
 * @format: set to the format that the rule asked for, if there is a connection
 *
 * Return: the conntrack, confirmed and with a reference, if it has one of our helpers; or NULL.
 */
struct nf_conn *conn_find(struct net *net, const struct nf_conntrack_zone *zone,
			  const struct nf_conntrack_tuple *tuple, struct conn **conn,
			  enum ctinject_format *format)
{
	struct nf_conntrack_tuple_hash *hash = nf_conntrack_find_get(net, zone, tuple);
	struct nf_conn *ct;

	if (!hash)
		return NULL;
	ct = nf_ct_tuplehash_to_ctrack(hash);
	*conn = conn_of(ct, format);
	if (NF_CT_DIRECTION(hash) == IP_CT_DIR_REPLY && *conn)
		return ct;
	nf_ct_put(ct);
	return NULL;
}

/* Whether the conntrack of a flow is being destroyed, or has lost our helper. Under RCU. */
bool conn_is_orphan(const struct flow *flow)
{
	enum ctinject_format format;

	return nf_ct_is_dying(flow->ct) || conn_of(flow->ct, &format) != flow->conn;
}

/* Whether the destination was changed by NAT. */
bool conn_translated(const struct nf_conn *ct)
{
	const struct nf_conntrack_tuple *original = nf_ct_tuple(ct, IP_CT_DIR_ORIGINAL);
	const struct nf_conntrack_tuple *reply = nf_ct_tuple(ct, IP_CT_DIR_REPLY);

	return !nf_inet_addr_cmp(&original->dst.u3, &reply->src.u3) ||
	       original->dst.u.all != reply->src.u.all;
}

/*
 * The device that leads to the server; 0 if the server is on this host: then its replies come
 * through LOCAL_OUT.
 */
int conn_device(const struct nf_hook_state *state)
{
	if (state->hook == NF_INET_LOCAL_IN || state->out->flags & IFF_LOOPBACK)
		return 0;
	return state->out->ifindex;
}

/* Where a packet of our own to the server is routed: the device that leads there, a VRF, or 0. */
int conn_oif(const struct nf_hook_state *state)
{
	if (state->hook == NF_INET_LOCAL_IN)
		return l3mdev_master_ifindex_rcu(state->in);
	return conn_device(state);
}

/* At the first SYN: how many sequence numbers the header will occupy, and which key signs it. */
static void reserve_header(struct conn *conn, const struct nf_conn *ct, enum ctinject_format format)
{
	const struct signing_key *key;

	if (format == CTINJECT_CTFRAME)
		return;
	key = keys_signing(nf_ct_net(ct));
	conn->header_len = header_size(ct, key);
	conn->key_id = key ? key->id : 0;
}

static void expect_replies(struct ctinject_net *cn, const struct nf_conn *ct)
{
	unsigned int port = ntohs(nf_ct_tuple(ct, IP_CT_DIR_REPLY)->src.u.tcp.port);

	if (!test_bit(port, cn->server_ports))
		set_bit(port, cn->server_ports);
}

/**
 * conn_on_syn() - a SYN is about to leave for the server
 * @skb: the SYN
 * @seg: its offsets
 * @ct: its conntrack, translated, perhaps not confirmed yet
 * @conn: its data
 * @format: what its rule asked for
 * @state: hook
 *
 * For ctproxy the SYN leaves with a lower number: the numbers in between are the header's place
 * before the client's first byte. Several SYNs with different numbers may pass; the server's
 * SYN-ACK says which one counts.
 */
unsigned int conn_on_syn(struct sk_buff *skb, struct segment *seg, struct nf_conn *ct,
			 struct conn *conn, enum ctinject_format format,
			 const struct nf_hook_state *state)
{
	u32 seq = segment_seq(skb, seg);
	enum tcpopt_syn options;

	if (segment_writable(skb, seg))
		return stats_drop(state->net, STAT_drop_build);
	options = tcpopt_clean_syn(skb, segment_tcp(skb, seg));
	if (options == TCPOPT_SYN_SIGNED)
		return stats_drop(state->net, STAT_drop_signature_option);
	if (options == TCPOPT_SYN_CLEARED)
		stats_inc(state->net, STAT_options_cleared);
	/* Data of Fast Open. The server will not acknowledge it, so the client sends it again. */
	if (seg->len && segment_trim(skb, seg, 0))
		return stats_drop(state->net, STAT_drop_build);

	expect_replies(pernet_of(state->net), ct);
	spin_lock_bh(&ct->lock);
	if (conn->phase == CONN_NEW) {
		reserve_header(conn, ct, format);
		conn->phase = CONN_SYN;
	}
	/* Keep fin_end, which shares memory with latest: this SYN's SYN-ACK ends the conntrack. */
	if (conn->phase != CONN_PROVEN || !conn->fin)
		conn->latest = seq + 1;
	if (conn->phase != CONN_OPEN) {
		conn->reopens = 1;
		conn->time = ktime_get_seconds();
		conn->ifindex = conn_device(state);
		conn->client_scales = tcpopt_window_scale(segment_tcp(skb, seg)) >= 0;
	}
	spin_unlock_bh(&ct->lock);
	segment_set_seq(skb, seg, seq - conn->header_len);
	return NF_ACCEPT;
}

/* Says what a SYN-ACK means, and enters CONN_OPEN if it opens the connection. Under ct->lock. */
static enum conn_synack settle(struct conn *conn, u32 first, const struct sk_buff *skb,
			       const struct segment *seg)
{
	int scale;

	if (conn->phase == CONN_OPEN && first == conn->first &&
	    segment_seq(skb, seg) + 1 == conn->server)
		return CONN_SYNACK_AGAIN;
	if (conn->phase == CONN_OPEN)
		return CONN_SYNACK_FOREIGN;
	if (first != conn->latest || !conn->reopens || conn->fin)
		return CONN_SYNACK_FOREIGN;
	/*
	 * A late duplicate; or the server has forgotten the connection, and the client uses the
	 * same number again. Then segments of the two connections could not be told apart.
	 */
	if (conn->phase == CONN_PROVEN && first == conn->first)
		return CONN_SYNACK_FOREIGN;
	scale = tcpopt_window_scale(segment_tcp(skb, seg));
	conn->first = first;
	conn->server = segment_seq(skb, seg) + 1;
	conn->scale = conn->client_scales && scale > 0 ? scale : 0;
	conn->reopens = 0;
	/* A reader that sees the phase without the lock also sees the other members. */
	smp_store_release(&conn->phase, CONN_OPEN);
	return CONN_SYNACK_OPENS;
}

/*
 * Whether a SYN-ACK that is not accepted shows that the server has forgotten the connection. Then
 * the caller ends the conntrack, the client sends its SYN again, and everything begins anew.
 *
 * CONN_OPEN: the SYN-ACK answers another SYN, or has a cookie of another minute. The client may not
 * have seen the accepted SYN-ACK. CONN_PROVEN: the client uses the same number for a new
 * connection. A late duplicate shows nothing: it has the server's old number, and the conntrack is
 * still established.
 */
static bool begins_anew(const struct nf_conn *ct, const struct conn *conn, u32 number)
{
	if (READ_ONCE(conn->phase) == CONN_OPEN)
		return true;
	if (READ_ONCE(conn->phase) != CONN_PROVEN || !conn->reopens)
		return false;
	return number != conn->server ||
	       READ_ONCE(ct->proto.tcp.state) != TCP_CONNTRACK_ESTABLISHED;
}

/**
 * conn_on_synack() - a SYN-ACK has come from the server, before conntrack sees it
 * @skb: the SYN-ACK; checksum and device are right
 * @seg: its offsets
 * @ct: conntrack of its reply tuple, confirmed
 * @conn: its data
 *
 * Its ack names the SYN that the server has accepted, and so where the stream begins.
 */
enum conn_synack conn_on_synack(const struct sk_buff *skb, const struct segment *seg,
				struct nf_conn *ct, struct conn *conn)
{
	enum conn_synack meaning;
	struct flow *old;
	u32 first;

	first = ntohl(segment_tcp(skb, seg)->ack_seq) + READ_ONCE(conn->header_len);
	spin_lock_bh(&ct->lock);
	meaning = settle(conn, first, skb, seg);
	spin_unlock_bh(&ct->lock);
	if (meaning == CONN_SYNACK_FOREIGN && begins_anew(ct, conn, segment_seq(skb, seg) + 1))
		nf_ct_kill(ct);
	if (meaning != CONN_SYNACK_OPENS)
		return meaning;
	old = READ_ONCE(conn->flow);
	if (old)
		flow_kill(old);
	return meaning;
}

/* Undoes CONN_SYNACK_OPENS for a SYN-ACK that is dropped: the next SYN-ACK may open. */
void conn_unsettle(struct nf_conn *ct, struct conn *conn)
{
	spin_lock_bh(&ct->lock);
	conn->phase = CONN_SYN;
	conn->reopens = 1;
	spin_unlock_bh(&ct->lock);
}

/**
 * conn_prove() - the server has answered as only an established socket does
 * @ct: conntrack
 * @conn: its data; nothing happens unless in phase CONN_OPEN
 * @fin: whether the client has sent its FIN already
 * @fin_end: number after the FIN
 */
void conn_prove(struct nf_conn *ct, struct conn *conn, bool fin, u32 fin_end)
{
	spin_lock_bh(&ct->lock);
	if (conn->phase == CONN_OPEN) {
		conn->fin = fin;
		conn->fin_end = fin_end;
		/* A reader that sees the phase without the lock also sees the FIN. */
		smp_store_release(&conn->phase, CONN_PROVEN);
	}
	spin_unlock_bh(&ct->lock);
}

/**
 * conn_behind_fin() - is this segment beyond the end of the client's stream?
 * @skb: the segment
 * @seg: its offsets
 * @ct: its conntrack
 * @conn: its data, proven
 *
 * Records the client's first FIN, which marks the end of the stream.
 */
bool conn_behind_fin(const struct sk_buff *skb, const struct segment *seg, struct nf_conn *ct,
		     struct conn *conn)
{
	u32 end = segment_seq(skb, seg) + segment_span(skb, seg);

	if (conn->fin)
		return after(end, conn->fin_end);
	if (!segment_tcp(skb, seg)->fin)
		return false;
	spin_lock_bh(&ct->lock);
	if (!conn->fin) {
		conn->fin_end = end;
		conn->fin = 1;
	}
	spin_unlock_bh(&ct->lock);
	return after(end, conn->fin_end);
}

/**
 * conn_spoil_cookie() - make sure that a segment of a proven connection brings back no SYN cookie
 * @skb: the segment, no SYN
 * @seg: its offsets
 * @conn: its connection
 * @at: its number in server space
 *
 * The server may have given up the connection while the client and conntrack have not. If the
 * segment could bring back a cookie, its ack is lowered by a few bytes. A server that has its
 * socket takes that for an older ack and uses the data as usual; a server without one sees a wrong
 * cookie. Nearly no honest segment is close enough to a cookie to be changed.
 *
 * A bare ack behind the client's FIN is not changed: the server may need it to close. If it opens a
 * socket, that socket gets no data, since nothing passes behind the FIN.
 *
 * Return: 0, or -ENOMEM.
 */
int conn_spoil_cookie(struct sk_buff *skb, const struct segment *seg, const struct conn *conn,
		      u32 at)
{
	const struct tcphdr *th = segment_tcp(skb, seg);
	u32 ahead = at - (conn->first - conn->header_len);
	u32 acked = ntohl(th->ack_seq) - conn->server;

	if (!th->ack || th->rst || ahead - acked + COOKIE_SLACK > 2 * COOKIE_SLACK)
		return 0;
	if (conn->fin && !seg->len && !th->fin && segment_seq(skb, seg) == conn->fin_end)
		return 0;
	if ((u32)ktime_get_seconds() - READ_ONCE(conn->time) > COOKIE_LIFE)
		return 0;
	if (segment_writable(skb, seg))
		return -ENOMEM;
	segment_set_ack(skb, seg, ntohl(segment_tcp(skb, seg)->ack_seq) - 4 * COOKIE_SLACK);
	stats_inc(nf_ct_net((const struct nf_conn *)skb_nfct(skb)), STAT_cookies_spoiled);
	return 0;
}

/* Removes the flow of a connection that ends. */
static void end_flow(struct nf_conn *ct)
{
	enum ctinject_format format;
	const struct conn *conn;
	struct flow *flow;

	if (nf_ct_protonum(ct) != IPPROTO_TCP)
		return;
	rcu_read_lock();
	conn = conn_of(ct, &format);
	flow = conn ? READ_ONCE(conn->flow) : NULL;
	if (flow)
		flow_kill(flow);
	rcu_read_unlock();
}

/*
 * ->destroy() of the helpers, one for each format. The kernel calls it for confirmed conntracks
 * only, and may call it twice.
 */
void conn_end_ctframe(struct nf_conn *ct)
{
	end_flow(ct);
}

void conn_end_ctproxy(struct nf_conn *ct)
{
	end_flow(ct);
}

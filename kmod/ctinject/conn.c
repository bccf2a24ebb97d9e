// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which connections are ours, and how far each has come.
 *
 * A rule selects a connection by naming one of our conntrack helpers; the helper's 32 bytes
 * are its struct conn. The kernel calls ->destroy() for confirmed conntracks only, so until
 * one is confirmed everything we know of it is in these bytes.
 *
 *	         SYN           SYN-ACK of the latest SYN      as only a socket answers
 *	NEW ------------> SYN -------------------------> OPEN ------------------------> PROVEN
 *	 |                                                ^                               |
 *	 | not translated                                 +-------------------------------+
 *	 v                                                  SYN and its SYN-ACK: the server
 *	DIRECT                                              had forgotten the connection
 *
 * An attacker is the client: it can send any segment at any time, and sees what the server
 * answers. What it must not get is a server socket whose first bytes are its own. The server
 * makes a socket for two reasons. It took a SYN: then what follows goes by the phases.
 *  - NEW: a connection that was picked up in mid-stream is dropped: where in the stream its
 *    header belongs is unknown.
 *  - SYN: nothing but SYN and RST passes, since nobody but the server knows which SYN it took.
 *  - OPEN: one SYN-ACK counts, and acks must name what it began.
 *  - PROVEN: the server has a socket, and the place of the header is taken.
 * Or it sees a SYN cookie come back, and that need not be where its SYN-ACK said. For addresses,
 * ports and a minute a cookie is a constant plus the client's number (tcp_syncookies.c): with
 * one, the client knows those of all numbers. A segment is taken for one that brings a cookie
 * if it is as far ahead of the SYN as its ack is of the SYN-ACK, give or take the index of an
 * MSS. So while cookies live
 *  - in OPEN the ack settles the place, and there nothing passes but the header, or an ack. To
 *    who also has a cookie of the minute before, the same ack is good for a second place, up to
 *    2^25 ahead: ctframe passes nothing but frames with their headers, and ctproxy no more than
 *    a first window, behind the header;
 *  - in PROVEN, when the server has a socket unless it has lost it, see conn_spoil_cookie().
 */

#include <linux/module.h>
#include <net/netfilter/nf_conntrack_core.h>
#include <net/netfilter/nf_conntrack_expect.h>
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

/* A cookie names one of four MSS: so many numbers may it be off. */
#define COOKIE_SLACK 3u

/* Seconds after which no cookie is good any more: two minutes, and a margin. */
#define COOKIE_LIFE 180

static const struct {
	const char *name;
	u16 family;
	u8 protocol;
	u8 format;
} kinds[] = {
	{ "ctframe", NFPROTO_IPV4, IPPROTO_TCP, CTINJECT_CTFRAME },
	{ "ctframe", NFPROTO_IPV4, IPPROTO_UDP, CTINJECT_CTFRAME },
	{ "ctproxy", NFPROTO_IPV4, IPPROTO_TCP, CTINJECT_CTPROXY },
	{ "ctproxy", NFPROTO_IPV4, IPPROTO_UDP, CTINJECT_CTPROXY },
	{ "ctproxy", NFPROTO_IPV6, IPPROTO_TCP, CTINJECT_CTPROXY },
	{ "ctproxy", NFPROTO_IPV6, IPPROTO_UDP, CTINJECT_CTPROXY },
};

static struct nf_conntrack_helper helpers[ARRAY_SIZE(kinds)] __read_mostly;

/* What a connection that a rule gave to one of our helpers remembers, or NULL. Under RCU. */
struct conn *conn_of(const struct nf_conn *ct, enum ctinject_format *format)
{
	const struct nf_conn_help *help = nfct_help(ct);
	const struct nf_conntrack_helper *helper;

	if (!help)
		return NULL;
	helper = rcu_dereference(help->helper);
	if (helper < helpers || helper >= helpers + ARRAY_SIZE(helpers))
		return NULL;
	*format = kinds[helper - helpers].format;
	return (struct conn *)help->data;
}

/**
 * conn_find() - the connection that a reply tuple belongs to
 * @net: namespace
 * @zone: the packet's
 * @tuple: as the server's packet carries it
 * @format: set to the helper's, when there is one
 *
 * Return: conntrack with a reference, confirmed and with a conn of ours; or NULL.
 */
struct nf_conn *conn_find(struct net *net, const struct nf_conntrack_zone *zone,
			  const struct nf_conntrack_tuple *tuple, enum ctinject_format *format)
{
	struct nf_conntrack_tuple_hash *hash = nf_conntrack_find_get(net, zone, tuple);
	struct nf_conn *ct;

	if (!hash)
		return NULL;
	ct = nf_ct_tuplehash_to_ctrack(hash);
	if (NF_CT_DIRECTION(hash) == IP_CT_DIR_REPLY && conn_of(ct, format))
		return ct;
	nf_ct_put(ct);
	return NULL;
}

/* Whether the conntrack of a flow is gone, or has another helper or none. Under RCU. */
bool conn_is_orphan(const struct flow *flow)
{
	enum ctinject_format format;

	return nf_ct_is_dying(flow->ct) || conn_of(flow->ct, &format) != flow->conn;
}

/* Whether the client was going somewhere else than where the connection went. */
bool conn_translated(const struct nf_conn *ct)
{
	const struct nf_conntrack_tuple *original = nf_ct_tuple(ct, IP_CT_DIR_ORIGINAL);
	const struct nf_conntrack_tuple *reply = nf_ct_tuple(ct, IP_CT_DIR_REPLY);

	return !nf_inet_addr_cmp(&original->dst.u3, &reply->src.u3) ||
	       original->dst.u.all != reply->src.u.all;
}

/*
 * By which device the server is reached; 0: it is on this host, and its replies begin at
 * LOCAL_OUT.
 */
int conn_device(const struct nf_hook_state *state)
{
	if (state->hook == NF_INET_LOCAL_IN || state->out->flags & IFF_LOOPBACK)
		return 0;
	return state->out->ifindex;
}

/* How many sequence numbers the header takes, and who signs it: settled by the first SYN. */
static void reserve_header(struct conn *conn, const struct nf_conn *ct, enum ctinject_format format)
{
	const struct signing_key *key;

	if (format == CTINJECT_CTFRAME)
		return;
	key = keys_signing(nf_ct_net(ct));
	conn->header_len = header_size(nf_ct_l3num(ct), key);
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
 * @format: what its rule asked for
 * @state: hook
 *
 * For ctproxy it leaves with a lower number, so that the header has its place before the client's
 * first byte. Any number of SYNs may pass, with any numbers: which one counts, the server says.
 */
unsigned int conn_on_syn(struct sk_buff *skb, struct segment *seg, struct nf_conn *ct,
			 enum ctinject_format format, const struct nf_hook_state *state)
{
	struct conn *conn = nfct_help_data(ct);
	u32 seq = segment_seq(skb, seg);
	enum tcpopt_syn options;

	if (segment_writable(skb, seg))
		return stats_drop(state->net, STAT_drop_build);
	options = tcpopt_clean_syn(skb, segment_tcp(skb, seg));
	if (options == TCPOPT_SYN_SIGNED)
		return stats_drop(state->net, STAT_drop_signature_option);
	if (options == TCPOPT_SYN_CLEARED)
		stats_inc(state->net, STAT_options_cleared);
	/* Fast Open's data: not acknowledged, so the client sends it again. */
	if (seg->len && segment_trim(skb, seg, 0))
		return stats_drop(state->net, STAT_drop_build);

	expect_replies(pernet_of(state->net), ct);
	spin_lock_bh(&ct->lock);
	if (conn->phase == CONN_NEW) {
		reserve_header(conn, ct, format);
		conn->phase = CONN_SYN;
	}
	/* Where the FIN was is not forgotten: this SYN's SYN-ACK will end the conntrack. */
	if (conn->phase != CONN_PROVEN || !conn->fin)
		conn->latest = seq + 1;
	if (conn->phase != CONN_OPEN) {
		conn->reopens = 1;
		conn->time = ktime_get_real_seconds();
		conn->ifindex = conn_device(state);
		conn->client_scales = tcpopt_window_scale(segment_tcp(skb, seg)) >= 0;
	}
	spin_unlock_bh(&ct->lock);
	segment_set_seq(skb, seg, seq - conn->header_len);
	return NF_ACCEPT;
}

/* What the server's SYN-ACK means, and the step that follows from it. Under ct->lock. */
static enum conn_synack settle(struct conn *conn, u32 first, const struct sk_buff *skb,
			       const struct segment *seg)
{
	int scale;

	if (conn->phase == CONN_OPEN && first == conn->first &&
	    segment_seq(skb, seg) + 1 == conn->server)
		return CONN_SYNACK_AGAIN;
	if (conn->phase == CONN_OPEN)
		return CONN_SYNACK_FOREIGN;
	if (conn->phase != CONN_OPEN && (first != conn->latest || !conn->reopens || conn->fin))
		return CONN_SYNACK_FOREIGN;
	/*
	 * A late duplicate, or a server that has forgotten a connection whose client uses the
	 * same number again: there could be no telling what is a retransmission of which.
	 */
	if (conn->phase == CONN_PROVEN && first == conn->first)
		return CONN_SYNACK_FOREIGN;
	scale = tcpopt_window_scale(segment_tcp(skb, seg));
	conn->first = first;
	conn->server = segment_seq(skb, seg) + 1;
	conn->scale = conn->client_scales && scale > 0 ? scale : 0;
	conn->reopens = 0;
	/* Whoever sees the phase without a lock sees the rest. */
	smp_store_release(&conn->phase, CONN_OPEN);
	return CONN_SYNACK_OPENS;
}

/*
 * Whether a SYN-ACK that does not count shows that the server has forgotten what does: one for
 * another SYN, or with a cookie of another minute, while the client may have seen neither; or one
 * for the number of a proven connection, which its client uses again, and no late duplicate. Then
 * the conntrack goes, the client sends its SYN once more, and both begin anew.
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
 *
 * Its ack tells which SYN the server took, and that is the beginning of the stream.
 */
enum conn_synack conn_on_synack(const struct sk_buff *skb, const struct segment *seg,
				struct nf_conn *ct)
{
	struct conn *conn = nfct_help_data(ct);
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

/* Takes back what a SYN-ACK has settled, which was dropped: the next one counts again. */
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
 * @fin_end: number after it
 */
void conn_prove(struct nf_conn *ct, struct conn *conn, bool fin, u32 fin_end)
{
	spin_lock_bh(&ct->lock);
	if (conn->phase == CONN_OPEN) {
		conn->fin = fin;
		conn->fin_end = fin_end;
		/* Whoever sees the phase without a lock sees the rest. */
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
 * Notes the first FIN. Nothing follows one, and the first one tells where that is.
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
 * conn_spoil_cookie() - see to it that a segment of a proven connection brings no SYN cookie
 * @skb: the segment, no SYN
 * @seg: its offsets
 * @conn: its connection
 * @at: its number in server space
 *
 * A segment that could be taken for one that does has its ack lowered by a few bytes. To a server
 * that has its socket this is an ack that comes a little late, and its data is as good as ever. To
 * one that has not (it gave up a connection that we and the client still know of) it is a wrong
 * cookie. What is far from the diagonal, and that is nearly everything, is left alone; so is an
 * ack behind the client's FIN: the server may wait for it to close, and a socket that it might
 * open stays empty, since nothing that follows is let through.
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
	if ((u32)ktime_get_real_seconds() - READ_ONCE(conn->time) > COOKIE_LIFE)
		return 0;
	if (segment_writable(skb, seg))
		return -ENOMEM;
	segment_set_ack(skb, seg, ntohl(segment_tcp(skb, seg)->ack_seq) - 4 * COOKIE_SLACK);
	stats_inc(nf_ct_net((const struct nf_conn *)skb_nfct(skb)), STAT_cookies_spoiled);
	return 0;
}

/*
 * The hooks do the work: they have what an extra segment needs. Where there are none yet, this
 * is what keeps a packet from leaving unmarked.
 */
static int help(struct sk_buff *skb, unsigned int offset, struct nf_conn *ct,
		enum ip_conntrack_info ctinfo)
{
	const struct conn *conn = nfct_help_data(ct);
	struct ctinject_net *cn;

	if (READ_ONCE(conn->phase) != CONN_NEW || !conn_translated(ct))
		return NF_ACCEPT;
	cn = pernet_of(nf_ct_net(ct));
	if (pernet_armed(cn))
		return NF_ACCEPT;
	pernet_want_hooks(cn);
	return stats_drop(cn->net, STAT_drop_unarmed);
}

/* Called for confirmed conntracks only, and perhaps twice. */
static void destroy(struct nf_conn *ct)
{
	const struct conn *conn = nfct_help_data(ct);
	struct flow *flow;

	if (nf_ct_protonum(ct) != IPPROTO_TCP)
		return;
	rcu_read_lock();
	flow = READ_ONCE(conn->flow);
	if (flow)
		flow_kill(flow);
	rcu_read_unlock();
}

static const struct nf_conntrack_expect_policy no_expectations = {
	.max_expected = 1,
	.timeout = 1,
};

int conn_register(void)
{
	unsigned int i;

	static_assert(sizeof(struct conn) <= sizeof_field(struct nf_conn_help, data));
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		/* Helpers must differ in the port that they once were assigned by. */
		u16 port = i + 1;

		nf_ct_helper_init(&helpers[i], kinds[i].family, kinds[i].protocol, kinds[i].name,
				  port, port, 0, &no_expectations, 0, help, NULL, THIS_MODULE);
		helpers[i].data_len = sizeof(struct conn);
		helpers[i].destroy = destroy;
	}
	return nf_conntrack_helpers_register(helpers, ARRAY_SIZE(helpers));
}

void conn_unregister(void)
{
	nf_conntrack_helpers_unregister(helpers, ARRAY_SIZE(helpers));
}

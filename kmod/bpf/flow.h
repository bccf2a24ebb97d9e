/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The table of flows. A flow is what the program remembers of a selected connection.
 *
 * A flow is never evicted. When the table is full, SYNs of new selected connections are dropped;
 * all other packets pass. A flow is deleted SYN_LIFE after a SYN that the server has not answered,
 * or when conntrack has no entry for the connection and every SYN cookie that the server gave to
 * these ports has expired. A new conntrack entry for the same ports changes nothing about that: the
 * packets that a flow lets through do not depend on how long conntrack remembers the connection. But
 * as long as the header may be sent, the entry must be of the client that the header tells.
 *
 * sweep.h deletes flows from a timer in the kernel, so no daemon has to run.
 */
#ifndef CTPROXY_FLOW_H
#define CTPROXY_FLOW_H

#include "conntrack.h"
#include "counters.h"
#include "work.h"

#define SYN_LIFE (90 * NSEC_PER_SEC)

/* A SYN cookie is valid for at most two minutes; this has a margin. */
#define COOKIE_LIFE (180 * NSEC_PER_SEC)

/* A SYN cookie is the sum of a constant and the index of one of four MSS values: 0 to 3. */
#define COOKIE_SLACK 3u

/* The largest number of minutes whose SYN cookies are valid at the same time. */
#define DISTANCES 4

enum phase {
	PHASE_NONE,	/* just made; another CPU is about to fill it in */
	PHASE_SYN,
	PHASE_OPEN,
	PHASE_PROVEN,
};

/**
 * struct flow - what is remembered of a connection
 * @lock: protects all members but @made
 * @phase: enum phase; ctproxy.bpf.c has the diagram
 * @header_len: length of @header, which occupies as many sequence numbers before @first
 * @reopens: a SYN waits for its SYN-ACK
 * @established: conntrack had the connection as established when that SYN came
 * @fin: the client has sent its FIN
 * @heard: the client has acknowledged the SYN-ACK, and has not reset the connection since
 * @refusals: how often an RST was taken for a missed SYN cookie
 * @sent_header: the header was sent
 * @ecn: flags of ECN of the client's latest segment
 * @accurate: its flag AE
 * @ended: conntrack has no entry for the connection any more
 * @first: number of the client's first data byte in the connection that the server accepted
 * @latest: number of the first data byte after the latest SYN, which the server may not have
 *          accepted
 * @fin_end: if @fin: number after the FIN
 * @server: number of the server's first data byte
 * @sent: number after the last byte that the server has sent
 * @high: number after the last byte that the client has sent
 * @acked: if @heard: what the client has acknowledged
 * @window: window field of the client's latest segment
 * @has_timestamps: that segment had the option, whose value is in @timestamps
 * @distances: server's number minus client's number of the SYN-ACKs that reached the client
 * @shown: when that was for each of @distances, in nanoseconds since boot
 * @last_shown: the latest of @shown
 * @born: when the latest SYN came
 * @answered: when a reply was last answered with a header
 * @refused: when @refusals last grew
 * @ct: address of the conntrack entry. The entry may be freed: conntrack_lives() reads it safely
 * @made: when the table entry was made; tells it from a later entry with the same key
 * @header: the PROXY header
 */
struct flow {
	struct bpf_spin_lock lock;
	__u8 phase, header_len;
	__u8 reopens, established;
	__u8 fin, heard, refusals, sent_header;
	__u8 ended, ecn, accurate;
	__u32 first, latest, fin_end;
	__u32 server, sent, high, acked;
	__be16 window;
	__u8 has_timestamps;
	__u8 timestamps[TIMESTAMPS];
	__u64 born, answered, refused;
	__u64 last_shown, shown[DISTANCES];
	__u32 distances[DISTANCES];
	__u64 ct;
	__u64 made;
	__u8 header[HEADER_SPACE];
};

/* ctwsgi/ebpf/half_open.py reads these members at these offsets. */
_Static_assert(__builtin_offsetof(struct flow, phase) == 4, "half_open.py");
_Static_assert(__builtin_offsetof(struct flow, ended) == 12, "half_open.py");
_Static_assert(__builtin_offsetof(struct flow, first) == 16, "half_open.py");
_Static_assert(__builtin_offsetof(struct flow, acked) == 40, "half_open.py");
_Static_assert(__builtin_offsetof(struct flow, header) + HEADER_SPACE == sizeof(struct flow),
	       "half_open.py");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);	/* user space may set another number */
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

static const __u8 blank[sizeof(struct flow)];

/* The key of a packet to the server. */
static __always_inline void flow_key_forward(struct flow_key *key, const struct packet *packet)
{
	__builtin_memcpy(key->server, packet->destination, sizeof(key->server));
	__builtin_memcpy(key->client, packet->source, sizeof(key->client));
	key->server_port = packet->tcp.destination;
	key->client_port = packet->tcp.source;
	key->version = packet->version;
}

/* The key of a packet from the server. */
static __always_inline void flow_key_reverse(struct flow_key *key, const struct packet *packet)
{
	__builtin_memcpy(key->server, packet->source, sizeof(key->server));
	__builtin_memcpy(key->client, packet->destination, sizeof(key->client));
	key->server_port = packet->tcp.source;
	key->client_port = packet->tcp.destination;
	key->version = packet->version;
}

/* The key of a connection according to conntrack. */
static __always_inline void flow_key_conntrack(struct flow_key *key, const struct nf_conn *ct)
{
	BPF_CORE_READ_INTO(&key->server, ct, tuplehash[IP_CT_DIR_REPLY].tuple.src.u3.all);
	BPF_CORE_READ_INTO(&key->client, ct, tuplehash[IP_CT_DIR_REPLY].tuple.dst.u3.all);
	key->server_port = BPF_CORE_READ(ct, tuplehash[IP_CT_DIR_REPLY].tuple.src.u.all);
	key->client_port = BPF_CORE_READ(ct, tuplehash[IP_CT_DIR_REPLY].tuple.dst.u.all);
	key->version =
		BPF_CORE_READ(ct, tuplehash[IP_CT_DIR_REPLY].tuple.src.l3num) == AF_INET ? 4 : 6;
}

/*
 * Set @key to what conntrack knows of an arriving reply, or of an ICMP error about the connection.
 *
 * Usually a packet arrives before conntrack, and this does nothing. But with br_netfilter a bridge
 * calls PRE_ROUTING before its device receives the packet: if the gateway translates the client's
 * address, too, the packet has the client's again, and the server has sent it to another one.
 * The entry was found by the addresses and ports on the wire, so a forged packet gains nothing.
 */
static __always_inline void flow_key_tracked(struct flow_key *key, struct __sk_buff *skb)
{
	const struct nf_conn *ct = conntrack_pointer(skb);

	if (ct && conntrack_is_reply(skb))
		flow_key_conntrack(key, ct);
}

static __always_inline bool flow_key_equal(const struct flow_key *a, const struct flow_key *b)
{
	__u32 i;

	for (i = 0; i < 4; i++)
		if (a->server[i] != b->server[i] || a->client[i] != b->client[i])
			return false;
	return a->server_port == b->server_port && a->client_port == b->client_port &&
	       a->version == b->version;
}

/*
 * Whether conntrack still has an entry for the connection at @address. The kernel may have freed
 * the memory, and may use it for something else: then its addresses and ports differ from @key. If
 * they are equal, it holds an entry of this connection, the former one or a new one. An entry that
 * has timed out stays in memory for a while, but conntrack does not use it any more.
 */
static __always_inline bool conntrack_lives(__u64 address, const struct flow_key *key)
{
	const struct nf_conn *ct = (const struct nf_conn *)address;
	struct flow_key found = {};

	flow_key_conntrack(&found, ct);
	return flow_key_equal(&found, key) && !(BPF_CORE_READ(ct, status) & IPS_DYING) &&
	       (__s32)(BPF_CORE_READ(ct, timeout) - (__u32)bpf_jiffies64()) > 0;
}

/* For a new connection that gets no header and has the addresses and ports of the flow. */
static __always_inline void flow_delete(const struct flow_key *key)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, key);

	if (!flow)
		return;
	if (!flow->ended)
		count(COUNT_flows_closed);
	if (!bpf_map_delete_elem(&flows, key))
		count(COUNT_entries_gone);
}

static __always_inline struct flow *flow_find(const struct flow_key *key)
{
	return bpf_map_lookup_elem(&flows, key);
}

#endif

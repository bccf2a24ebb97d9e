/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The table of flows: a connection that was selected, from its first SYN until conntrack forgets
 * it.
 *
 * A flow is never evicted. When the table is full, new connections to the servers behind this
 * device wait: their SYNs are dropped, and everything else passes. It is taken away SYN_LIFE after
 * a SYN that nobody has answered, or when its conntrack is gone and no cookie that was given to its
 * ports is good any more. Until then it stays what it is, though conntrack may have made a new
 * entry meanwhile: what a flow lets through does not depend on conntrack's memory.
 *
 * sweep.h does that, with no daemon about.
 */
#ifndef CTPROXY_FLOW_H
#define CTPROXY_FLOW_H

#include "conntrack.h"
#include "counters.h"
#include "work.h"

#define SYN_LIFE (90 * NSEC_PER_SEC)

/* After this no SYN cookie is good any more: two minutes, and a margin. */
#define COOKIE_LIFE (180 * NSEC_PER_SEC)

/* A cookie names one of four MSS: so many numbers may it be off. */
#define COOKIE_SLACK 3u

/* Cookies of so many different minutes can be good at a time. */
#define DIAGONALS 4

/* The connection as packets on this device carry it: conntrack's reply tuple. */
struct flow_key {
	__u32 server[4], client[4];
	__be16 server_port, client_port;
	__u32 version;
};

enum phase {
	PHASE_NONE,	/* another CPU is about to fill it in */
	PHASE_SYN,
	PHASE_OPEN,
	PHASE_PROVEN,
};

/**
 * struct flow - what is remembered of a connection; see ctproxy.bpf.c for the numbers
 * @lock: for all but @made
 * @phase: enum phase
 * @room: sequence numbers that the header occupies before @first
 * @reopens: a SYN waits for its SYN-ACK
 * @established: conntrack took that SYN for one in the middle of a connection
 * @fin: the client has sent its FIN
 * @heard: the client has acknowledged the SYN-ACK, and not reset the connection since
 * @refusals: how often an RST was taken for a missed SYN cookie
 * @sent_header: the header was sent
 * @ended: conntrack has forgotten it
 * @first: number of the client's first data byte, as the server's SYN-ACK accepted it
 * @latest: the same of the latest SYN, which the server need not have accepted
 * @fin_end: when @fin: number after it
 * @server: the server's first data byte
 * @sent: end of what the server has sent
 * @high: end of what the client has sent
 * @acked: what the client has acknowledged, when @heard
 * @window: window field of the client's latest segment
 * @has_timestamps: and its option is @timestamps
 * @diagonals: the server's number less the client's, of the SYN-ACKs that the client was shown
 * @shown: when that was, nanoseconds since boot, for each of @diagonals
 * @told: the latest of these
 * @born: when the latest SYN came
 * @answered: when a header answered a reply last
 * @refused: when @refusals grew last
 * @ct: its conntrack, as a name only
 * @made: when the entry was made, which tells it from another one of the same key
 * @header: what is injected
 */
struct flow {
	struct bpf_spin_lock lock;
	__u8 phase, room;
	__u8 reopens, established;
	__u8 fin, heard, refusals, sent_header;
	__u8 ended;
	__u32 first, latest, fin_end;
	__u32 server, sent, high, acked;
	__be16 window;
	__u8 has_timestamps;
	__u8 timestamps[TIMESTAMPS];
	__u64 born, answered, refused;
	__u64 told, shown[DIAGONALS];
	__u32 diagonals[DIAGONALS];
	__u64 ct;
	__u64 made;
	__u8 header[HEADER_SPACE];
};

/* What ctwsgi/ebpf/half_open.py reads of it. */
_Static_assert(__builtin_offsetof(struct flow, phase) == 4, "opening.py");
_Static_assert(__builtin_offsetof(struct flow, ended) == 12, "opening.py");
_Static_assert(__builtin_offsetof(struct flow, first) == 16, "opening.py");
_Static_assert(__builtin_offsetof(struct flow, acked) == 40, "opening.py");
_Static_assert(__builtin_offsetof(struct flow, header) + HEADER_SPACE == sizeof(struct flow),
	       "opening.py");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);	/* user space may say another number */
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

static const __u8 blank[sizeof(struct flow)];

/* Of a packet to the server. */
static __always_inline void flow_key_forward(struct flow_key *key, const struct packet *packet)
{
	__builtin_memcpy(key->server, packet->destination, sizeof(key->server));
	__builtin_memcpy(key->client, packet->source, sizeof(key->client));
	key->server_port = packet->tcp.destination;
	key->client_port = packet->tcp.source;
	key->version = packet->version;
}

/* Of a packet from the server. */
static __always_inline void flow_key_reverse(struct flow_key *key, const struct packet *packet)
{
	__builtin_memcpy(key->server, packet->source, sizeof(key->server));
	__builtin_memcpy(key->client, packet->destination, sizeof(key->client));
	key->server_port = packet->tcp.source;
	key->client_port = packet->tcp.destination;
	key->version = packet->version;
}

/* Of a packet that does not show its ports. */
static __always_inline void flow_key_conntrack(struct flow_key *key, const struct nf_conn *ct)
{
	BPF_CORE_READ_INTO(&key->server, ct, tuplehash[IP_CT_DIR_REPLY].tuple.src.u3.all);
	BPF_CORE_READ_INTO(&key->client, ct, tuplehash[IP_CT_DIR_REPLY].tuple.dst.u3.all);
	key->server_port = BPF_CORE_READ(ct, tuplehash[IP_CT_DIR_REPLY].tuple.src.u.all);
	key->client_port = BPF_CORE_READ(ct, tuplehash[IP_CT_DIR_REPLY].tuple.dst.u.all);
	key->version =
		BPF_CORE_READ(ct, tuplehash[IP_CT_DIR_REPLY].tuple.src.l3num) == AF_INET ? 4 : 6;
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
 * Whether conntrack still has the connection. The memory may have become another connection's, or
 * anything: then it does not name this one, or if it does, it is this one again. An entry whose
 * time is over may lie there for a while, but nobody finds it any more.
 */
static __always_inline bool conntrack_lives(__u64 address, const struct flow_key *key)
{
	const struct nf_conn *ct = (const struct nf_conn *)address;
	struct flow_key found = {};

	flow_key_conntrack(&found, ct);
	return flow_key_equal(&found, key) && !(BPF_CORE_READ(ct, status) & IPS_DYING) &&
	       (__s32)(BPF_CORE_READ(ct, timeout) - (__u32)bpf_jiffies64()) > 0;
}

/* A connection that is not ours has these ports now. */
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

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The data types that the files of the module share.
 *
 *	conn	what the handshake of a connection has shown, in the 32 bytes that conntrack gives
 *		to its helper. A conn is part of the conntrack, so it does not leak when the
 *		conntrack is dropped before it is confirmed: ->destroy() is not called then.
 *	flow	the two sequence spaces of a connection, as long as they differ. The reply hook
 *		finds it by the reply tuple before conntrack sees the reply. Only confirmed
 *		conntracks have one.
 */
#ifndef CTINJECT_H
#define CTINJECT_H

#include <linux/rhashtable.h>
#include <linux/skbuff.h>
#include <linux/spinlock.h>
#include <linux/tcp.h>
#include <net/netfilter/nf_conntrack.h>

#include "framemap.h"
#include "header.h"
#include "tcpopt.h"

enum ctinject_format {
	CTINJECT_CTFRAME,
	CTINJECT_CTPROXY,
};

/**
 * enum conn_phase - how far a TCP connection has come
 * @CONN_NEW: no SYN was seen. If another segment comes first, conntrack has picked up the
 *	connection in mid-stream, where no origin can be injected
 * @CONN_DIRECT: the destination was not translated, so the module leaves the connection alone
 * @CONN_SYN: a SYN went to the server
 * @CONN_OPEN: the server's SYN-ACK has chosen one of the SYNs; with SYN cookies the server has no
 *	socket yet
 * @CONN_PROVEN: the server has answered as only a socket does. For ctproxy this answer
 *	acknowledged the header, and the flow is gone
 */
enum conn_phase {
	CONN_NEW,
	CONN_DIRECT,
	CONN_SYN,
	CONN_OPEN,
	CONN_PROVEN,
};

/**
 * struct conn - what the module keeps of a connection in its conntrack (zeroed at first)
 * @flow: its flow, or NULL; set and cleared under @flow->lock
 * @first: client space: number of the first data byte that the server's SYN-ACK has accepted
 * @latest: client space: number of the first data byte after the latest SYN, which the server may
 *	not have accepted
 * @fin_end: number after the client's FIN; valid if @fin and @phase is CONN_PROVEN
 * @server: number of the server's first data byte, which the client's first acks must name
 * @time: when the latest SYN passed, in seconds of a clock that nobody sets
 * @ifindex: device that leads to the server, 0 when the server is on this host
 * @phase: enum conn_phase
 * @header_len: sequence numbers that the header occupies before @first; 0 for ctframe
 * @key_id: id of the key that signs the header, if @header_len is that of a signed one
 * @scale: the server's window scale, 0 unless both sides offered one
 * @client_scales: the SYN offered window scaling
 * @reopens: a SYN has passed, and no SYN-ACK has answered it yet
 * @fin: the client has sent its FIN
 *
 * ct->lock protects all members but @flow. Whoever takes both locks takes flow->lock first.
 */
struct conn {
	struct flow *flow;
	u32 first;
	union {
		u32 latest;
		u32 fin_end;
	};
	u32 server;
	u32 time;
	int ifindex;
	u8 phase;
	u8 header_len;
	u8 key_id;
	u8 scale : 4;
	u8 client_scales : 1;
	u8 reopens : 1;
	u8 fin : 1;
};

/**
 * struct flow_key - the reply tuple, as a packet from the server carries it
 *
 * The hash table compares all bytes, so zero the struct before you fill it in.
 */
struct flow_key {
	const struct net *net;
	union nf_inet_addr server, client;
	__be16 server_port, client_port;
	u16 zone;
	u16 family;
};

/**
 * struct flow - the two sequence spaces of one connection
 * @node: entry in the table of all flows
 * @key: reply tuple
 * @ct: its conntrack; a published flow holds a reference to it
 * @conn: the struct conn in @ct
 * @lock: protects all members that follow
 * @dead: removed from the table, or about to be
 * @format: which member of the union is in use
 * @ifindex: device that leads to the server, 0 when the server is on this host
 * @oif: where a packet of our own is routed: the same device; the VRF when the server is on this
 *	host in a VRF; or 0
 * @map: ctframe: where frames begin
 * @destination: ctframe: the six bytes that every frame begins with
 * @scale: ctframe: the server's window scale
 * @mtu: ctframe: MTU of the path to the server that the latest credible ICMP error told, or 0
 * @first: ctproxy: client space: number of the client's first data byte
 * @server: ctproxy: number of the server's first data byte
 * @sent: ctproxy: number after the last byte that the server has sent
 * @high: ctproxy: number after the last byte that the client has sent
 * @acked: ctproxy: the client's latest ack, if @heard
 * @mark: ctproxy: skb mark of the client's latest packet; it routes a header that is sent again
 * @ecn: ctproxy: flags of ECN of the client's latest packet, as in tcp_flag_word()
 * @window: ctproxy: window field of the client's latest packet
 * @timestamp: ctproxy: timestamp option of the client's latest packet
 * @timestamp_len: ctproxy: bytes in @timestamp
 * @answered: ctproxy: jiffies when a reply was last answered with a header
 * @refused: ctproxy: jiffies of the latest RST that missed_cookie() has accepted
 * @refusals: ctproxy: number of RSTs that missed_cookie() has accepted
 * @fin: ctproxy: the client has sent its FIN
 * @fin_end: ctproxy: number after the client's FIN
 * @heard: ctproxy: the client has acknowledged the SYN-ACK, and has not reset the connection since
 * @headers: ctproxy: how often the header was sent
 * @lacking: ctproxy: the server has shown since that it lacks the header, and got no answer
 * @header_len: ctproxy: length of @header
 * @header: ctproxy: the header that is injected
 * @rcu: delays the freeing by a grace period, since the reply hook looks up flows without a lock
 */
struct flow {
	struct rhash_head node;
	struct flow_key key;
	struct nf_conn *ct;
	struct conn *conn;
	spinlock_t lock;	/* of all below */
	bool dead;
	u8 format;
	int ifindex, oif;
	union {
		struct {
			struct framemap map;
			u8 destination[6];
			u8 scale;
			u16 mtu;
		};
		struct {
			u32 first, server, sent, high, acked, fin_end, mark;
			unsigned long answered, refused;
			u32 headers;
			__be32 ecn;
			__be16 window;
			bool heard, fin, lacking;
			u8 refusals, header_len, timestamp_len;
			u8 timestamp[TCPOPT_TIMESTAMP_SPACE];
			u8 header[HEADER_MAX];
		};
	};
	struct rcu_head rcu;
};

#endif

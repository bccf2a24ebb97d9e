/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the module share: per-connection data and flows.
 *
 *	conn	one per connection, in the 32 bytes that a conntrack helper has: what the
 *		handshake taught. Lives and dies with the conntrack, so nothing leaks when a
 *		conntrack is dropped before it was confirmed (->destroy() is not called then).
 *	flow	one per connection whose sequence numbers differ on the two sides, found by the
 *		reply tuple before conntrack sees a reply. Only for confirmed conntracks.
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
 * @CONN_NEW: no SYN was seen. Whatever comes was picked up in mid-stream: its origin cannot be
 *	injected any more
 * @CONN_DIRECT: not translated, its original destination is the real one: not ours
 * @CONN_SYN: a SYN went to the server
 * @CONN_OPEN: the server's SYN-ACK has chosen the SYN; the server may have no
 *	socket yet (SYN cookies)
 * @CONN_PROVEN: the server has answered as only an established socket does; for ctproxy this
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
 * struct conn - what a conntrack remembers (helper data, at most 32 bytes, zeroed)
 * @flow: its flow, or NULL; set and cleared under @flow->lock
 * @first: client space: number of the first data byte, as the server's SYN-ACK accepted it
 * @latest: the same of the latest SYN, which the server need not have accepted
 * @fin_end: once proven, when @fin: number after the client's FIN
 * @server: the server's first data byte, which the client's first acks must name
 * @time: Unix seconds of the latest SYN
 * @ifindex: device towards the server, 0 when it is on this host
 * @phase: enum conn_phase
 * @header_len: sequence numbers that the header occupies before @first; 0 for ctframe
 * @key_id: the key that signs, meaningful when @header_len is that of a signed header
 * @scale: the server's window scale, 0 unless both sides offered one
 * @client_scales: the SYN offered window scaling
 * @reopens: a SYN waits for its SYN-ACK
 * @fin: the client has sent its FIN
 *
 * The lock is ct->lock, for all but @flow; it is taken inside of flow->lock, if with it.
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
 * Compared as bytes: zero it before filling it in.
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
 * @node: in the table of all flows
 * @key: reply tuple
 * @ct: its conntrack, of which it holds a reference once it is published
 * @conn: in @ct
 * @lock: for all that follows
 * @dead: taken out of the table, or about to be
 * @format: which of the two below is in use
 * @ifindex: see struct conn
 * @map: ctframe: where frames begin
 * @destination: ctframe: the six bytes that every frame begins with
 * @scale: ctframe: the server's window scale
 * @mtu: ctframe: of the path to the server, as far as an ICMP error told; 0: none did
 * @first: ctproxy: client space: first data byte
 * @server: ctproxy: the server's first data byte
 * @sent: ctproxy: end of what the server has sent
 * @high: ctproxy: end of what the client has sent
 * @acked: ctproxy: what the client has acknowledged, when @heard
 * @mark: ctproxy: skb mark of the latest packet to the server, for the routing of a resent header
 * @window: ctproxy: window field of the same packet
 * @timestamp: ctproxy: its timestamp option, of @timestamp_len bytes
 * @answered: ctproxy: jiffies of the latest header that answered a reply
 * @refused: ctproxy: jiffies of the latest RST that was taken for a missed SYN cookie
 * @refusals: ctproxy: how many of them
 * @fin: ctproxy: the client has sent its FIN
 * @fin_end: ctproxy: number after it
 * @heard: ctproxy: the client has acknowledged the SYN-ACK, and not reset the connection since
 * @headers: ctproxy: how often the header was sent
 * @headed: ctproxy: jiffies of the latest time
 * @header_len: ctproxy: length of @header
 * @header: ctproxy: what is injected
 * @rcu: freed after a grace period: the reply hook looks it up without a lock
 */
struct flow {
	struct rhash_head node;
	struct flow_key key;
	struct nf_conn *ct;
	struct conn *conn;
	spinlock_t lock;	/* all below */
	bool dead;
	u8 format;
	int ifindex;
	union {
		struct {
			struct framemap map;
			u8 destination[6];
			u8 scale;
			u16 mtu;
		};
		struct {
			u32 first, server, sent, high, acked, fin_end, mark;
			unsigned long answered, refused, headed;
			u32 headers;
			__be16 window;
			bool heard, fin;
			u8 refusals, header_len, timestamp_len;
			u8 timestamp[TCPOPT_TIMESTAMP_SPACE];
			u8 header[HEADER_MAX];
		};
	};
	struct rcu_head rcu;
};

#endif

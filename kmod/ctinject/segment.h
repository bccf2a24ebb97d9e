/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Changes packets: finds the transport header, changes numbers, inserts bytes in front
 * of the payload.
 */
#ifndef CTINJECT_SEGMENT_H
#define CTINJECT_SEGMENT_H

#include <linux/skbuff.h>
#include <linux/tcp.h>

#include "header.h"
#include "tcpopt.h"

struct nf_hook_state;

/**
 * struct segment - the parts of a packet at a netfilter hook, where skb->data is the IP header
 * @family: NFPROTO_IPV4 or NFPROTO_IPV6
 * @l4: offset of the TCP (or UDP) header
 * @payload: offset of the first payload byte
 * @len: payload bytes
 *
 * These are offsets, because pointers are stale after each call that expands or pulls.
 */
struct segment {
	u8 family;
	unsigned int l4, payload, len;
};

enum parsed {
	PARSED_OTHER,		/* another protocol, or not the first fragment */
	PARSED_OK,
	PARSED_MALFORMED,
};

enum parsed segment_parse(struct sk_buff *skb, const struct nf_hook_state *state, u8 protocol,
			  struct segment *seg);
bool segment_corrupt(struct sk_buff *skb, const struct segment *seg, u8 protocol,
		     const struct nf_hook_state *state);
int segment_writable(struct sk_buff *skb, const struct segment *seg);

static inline struct tcphdr *segment_tcp(const struct sk_buff *skb, const struct segment *seg)
{
	return (struct tcphdr *)(skb->data + seg->l4);
}

static inline u32 segment_seq(const struct sk_buff *skb, const struct segment *seg)
{
	return ntohl(segment_tcp(skb, seg)->seq);
}

/* How many sequence numbers the segment occupies. */
static inline u32 segment_span(const struct sk_buff *skb, const struct segment *seg)
{
	const struct tcphdr *th = segment_tcp(skb, seg);

	return seg->len + th->syn + th->fin;
}

/* The flags of ECN: AE, CWR, ECE, as bits of tcp_flag_word(). */
#define SEGMENT_ECN htonl(0x01c00000)

void segment_set_seq(struct sk_buff *skb, const struct segment *seg, u32 number);
void segment_set_ack(struct sk_buff *skb, const struct segment *seg, u32 number);
void segment_set_window(struct sk_buff *skb, const struct segment *seg, u16 window);
void segment_clear_urgent(struct sk_buff *skb, const struct segment *seg);

void segment_lengths(struct sk_buff *skb, const struct segment *seg, u8 protocol);
u8 *segment_insert(struct sk_buff *skb, struct segment *seg, unsigned int n);
int segment_linear(struct sk_buff *skb, unsigned int tailroom);
int segment_trim(struct sk_buff *skb, struct segment *seg, unsigned int len);
int segment_become_header(struct sk_buff *skb, struct segment *seg, u32 seq, const u8 *header,
			  unsigned int len);
int segment_send_header(struct sk_buff *skb, const struct segment *seg, u32 seq, const u8 *header,
			unsigned int len, const struct nf_hook_state *state);
int segment_send_copy(struct sk_buff *skb, const struct segment *seg, u32 seq,
		      const struct nf_hook_state *state);
unsigned int segment_mtu(const struct sk_buff *skb, const struct nf_hook_state *state);

#endif

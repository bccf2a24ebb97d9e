// SPDX-License-Identifier: GPL-2.0-only
/*
 * TCP options, as far as injection concerns them.
 *
 * An option that must go is overwritten with NOPs: that moves nothing. A malformed option
 * list ends the walk, as it does in the kernel's own parser.
 */

#include <linux/skbuff.h>
#include <net/checksum.h>
#include <net/tcp.h>

#include "compat.h"
#include "framemap.h"
#include "tcpopt.h"

#define TCPOPT_AO 29	/* RFC 5925; net/tcp.h has it from 6.7 on */

/* Bytes of a SACK option before the first block, and of each block (RFC 2018). */
#define SACK_BASE 2
#define SACK_BLOCK 8

/* The first option but NOPs at or behind @at, NULL when there is none. Its length is in @at[1]. */
static u8 *option_at(const struct tcphdr *th, u8 *at)
{
	u8 *end = (u8 *)th + th->doff * 4;

	while (at < end && *at == TCPOPT_NOP)
		at++;
	if (at + 1 >= end || *at == TCPOPT_EOL || at[1] < 2 || at + at[1] > end)
		return NULL;
	return at;
}

static u8 *option_first(const struct tcphdr *th)
{
	return option_at(th, (u8 *)(th + 1));
}

/* Not after the option was overwritten: its length is gone then. */
static u8 *option_next(const struct tcphdr *th, u8 *opt)
{
	return option_at(th, opt + opt[1]);
}

/* The option of that kind and length, or NULL. */
static u8 *option_find(const struct tcphdr *th, u8 kind, u8 len)
{
	u8 *opt;

	for (opt = option_first(th); opt; opt = option_next(th, opt))
		if (*opt == kind && opt[1] == len)
			return opt;
	return NULL;
}

/* Changes of the options between these two calls are carried over into the checksum. */
static __wsum sum_before(const struct tcphdr *th)
{
	return csum_partial(th, th->doff * 4, 0);
}

static void sum_after(struct sk_buff *skb, struct tcphdr *th, __wsum before)
{
	__wsum after = csum_partial(th, th->doff * 4, 0);

	if (skb->ip_summed != CHECKSUM_PARTIAL)
		th->check = csum_fold(csum_add(csum_sub(after, before),
					       ~csum_unfold(th->check)));
}

/* Fast Open (RFC 7413): 34, or the experimental 254 with its magic number. */
static bool is_fast_open(const u8 *opt)
{
	return *opt == TCPOPT_FASTOPEN ||
	       (*opt == TCPOPT_EXP && opt[1] >= 4 &&
		get_unaligned_be16(opt + 2) == TCPOPT_FASTOPEN_MAGIC);
}

/**
 * tcpopt_clean_syn() - take out what a connection with an injected header cannot have
 * @skb: packet
 * @th: its header, writable
 *
 * Fast Open sends data before the header's place in the stream is settled; MPTCP numbers
 * and sums the stream itself. Without the option both fall back to plain TCP.
 */
enum tcpopt_syn tcpopt_clean_syn(struct sk_buff *skb, struct tcphdr *th)
{
	enum tcpopt_syn result = TCPOPT_SYN_PLAIN;
	__wsum before = sum_before(th);
	u8 *opt, *next;

	for (opt = option_first(th); opt; opt = next) {
		next = option_next(th, opt);
		if (*opt == TCPOPT_MD5SIG || *opt == TCPOPT_AO)
			return TCPOPT_SYN_SIGNED;
		if (*opt != TCPOPT_MPTCP && !is_fast_open(opt))
			continue;
		memset(opt, TCPOPT_NOP, opt[1]);
		result = TCPOPT_SYN_CLEARED;
	}
	if (result == TCPOPT_SYN_CLEARED)
		sum_after(skb, th, before);
	return result;
}

/* The window scale that a SYN or SYN-ACK offers, or -1. */
int tcpopt_window_scale(const struct tcphdr *th)
{
	const u8 *opt = option_find(th, TCPOPT_WINDOW, TCPOLEN_WINDOW);

	return opt ? min_t(int, opt[2], TCP_MAX_WSCALE) : -1;
}

/*
 * Lowers the MSS that a SYN-ACK offers. Room for a frame's header, so that a full segment
 * still fits.
 */
void tcpopt_lower_mss(struct sk_buff *skb, struct tcphdr *th, u16 by)
{
	u8 *opt = option_find(th, TCPOPT_MSS, TCPOLEN_MSS);
	__wsum before = sum_before(th);

	if (!opt || get_unaligned_be16(opt + 2) <= TCP_MIN_MSS + by)
		return;
	put_unaligned_be16(get_unaligned_be16(opt + 2) - by, opt + 2);
	sum_after(skb, th, before);
}

/*
 * Takes the SACK blocks out: what they name would keep the client from sending its first
 * byte again.
 */
void tcpopt_strip_sack(struct sk_buff *skb, struct tcphdr *th)
{
	__wsum before = sum_before(th);
	u8 *opt, *next;

	for (opt = option_first(th); opt; opt = next) {
		next = option_next(th, opt);
		if (*opt == TCPOPT_SACK)
			memset(opt, TCPOPT_NOP, opt[1]);
	}
	sum_after(skb, th, before);
}

static void map_blocks(u8 *opt, const struct framemap *map)
{
	unsigned int len = opt[1], from, to = SACK_BASE;

	for (from = SACK_BASE; from + SACK_BLOCK <= len; from += SACK_BLOCK) {
		u32 left = framemap_reverse(map, get_unaligned_be32(opt + from), FRAMEMAP_LEFT);
		u32 right = framemap_reverse(map, get_unaligned_be32(opt + from + 4),
					     FRAMEMAP_RIGHT);

		/* Nothing but header bytes: the client has nothing that it could leave out. */
		if (!before(left, right))
			continue;
		put_unaligned_be32(left, opt + to);
		put_unaligned_be32(right, opt + to + 4);
		to += SACK_BLOCK;
	}
	memset(opt + to, TCPOPT_NOP, len - to);
	if (to == SACK_BASE)
		memset(opt, TCPOPT_NOP, SACK_BASE);
	else
		opt[1] = to;
}

/* Server space -> client space for the SACK blocks. */
void tcpopt_map_sack(struct sk_buff *skb, struct tcphdr *th, const struct framemap *map)
{
	__wsum before;
	u8 *opt, *next;

	for (opt = option_first(th); opt; opt = next) {
		next = option_next(th, opt);
		if (*opt != TCPOPT_SACK || opt[1] < SACK_BASE + SACK_BLOCK)
			continue;
		before = sum_before(th);
		map_blocks(opt, map);
		sum_after(skb, th, before);
	}
}

/**
 * tcpopt_copy_timestamp() - the timestamp option of a segment, for another one of the same sender
 * @th: the segment
 * @options: TCPOPT_TIMESTAMP_SPACE bytes
 *
 * Return: bytes used, 0 when @th has no timestamps.
 */
unsigned int tcpopt_copy_timestamp(const struct tcphdr *th, u8 *options)
{
	const u8 *opt = option_find(th, TCPOPT_TIMESTAMP, TCPOLEN_TIMESTAMP);

	if (!opt)
		return 0;
	options[0] = TCPOPT_NOP;
	options[1] = TCPOPT_NOP;
	memcpy(options + 2, opt, TCPOLEN_TIMESTAMP);
	return TCPOPT_TIMESTAMP_SPACE;
}

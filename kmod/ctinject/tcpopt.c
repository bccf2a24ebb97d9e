// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads and changes TCP options.
 *
 * An option is removed by overwriting it with NOPs, so that nothing moves. As in the kernel's own
 * parser, the walk ends at a malformed option.
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

/* The first option at or behind @at that is no NOP, or NULL. Byte 1 of an option is its length. */
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

/* Call it before the option is overwritten, since it needs the option's length. */
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

/* Options that change between these two calls are accounted for in the checksum. */
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
 * tcpopt_clean_syn() - remove the options that do not go with an injected header
 * @skb: packet
 * @th: its header, writable
 *
 * Fast Open sends data before it is known where the header belongs. MPTCP has its own numbers and
 * checksums of the stream. Without the option both fall back to plain TCP.
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
 * Lowers the MSS that a SYN-ACK offers, so that a full segment still fits when a frame's header is
 * inserted.
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
 * Removes the SACK blocks. Because of them the client might not send its first byte again, in front
 * of which the header goes.
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

		/* The block has only bytes of a header: it says nothing to the client. */
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

/* Translates the SACK blocks to client space. */
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
 * tcpopt_copy_timestamp() - copy the timestamp option, for another segment of the same sender
 * @th: TCP header
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

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * TCP options. An option is removed by writing NOPs over it, which moves no other byte. A malformed
 * list ends the walk, as in the kernel's own parser.
 */
#ifndef CTPROXY_OPTIONS_H
#define CTPROXY_OPTIONS_H

#include "work.h"

#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_SACK 5
#define OPTION_TIMESTAMPS 8
#define OPTION_MD5 19
#define OPTION_AO 29
#define OPTION_MPTCP 30
#define OPTION_FAST_OPEN 34
#define OPTION_EXPERIMENT 254
#define FAST_OPEN_MAGIC 0xf989

#define OPTION_TIMESTAMPS_LEN 10

enum option_found {
	FOUND_SIGNATURE = 1,	/* TCP-MD5 or TCP-AO: any change of a segment breaks it */
	FOUND_REMOVED = 2,
	FOUND_TIMESTAMPS = 4,
};

enum option_remove {
	/*
	 * Fast Open sends data before it is known which SYN the server accepts. MPTCP has its own
	 * sequence numbers and checksum of the stream. Without the option both use plain TCP.
	 */
	REMOVE_OF_SYN,
	/* A client that sees its first byte in a SACK block does not send it again. */
	REMOVE_SACK,
	REMOVE_NOTHING,
};

static __always_inline bool is_fast_open(const __u8 *option, __u8 len)
{
	return option[0] == OPTION_FAST_OPEN ||
	       (option[0] == OPTION_EXPERIMENT && len >= 4 &&
		(option[2] << 8 | option[3]) == FAST_OPEN_MAGIC);
}

static __always_inline bool must_go(const struct options *options, const __u8 *option, __u8 len)
{
	if (options->remove == REMOVE_OF_SYN)
		return option[0] == OPTION_MPTCP || is_fast_open(option, len);
	return options->remove == REMOVE_SACK && option[0] == OPTION_SACK;
}

/*
 * One step of the walk: over one byte of an option that is removed, a NOP, or a whole option.
 * Returns 1 at the end of the list.
 */
static long options_step(__u32 i, void *unused)
{
	struct work *work = work_get();
	struct options *options;
	__u32 at;
	__u8 *option, len;

	if (!work)
		return 1;
	options = &work->options;
	at = options->at;
	if (at >= options->len || at >= OPTIONS_MAX)
		return 1;
	option = &options->bytes[at];
	if (at < options->until) {
		option[0] = OPTION_NOP;
		options->at++;
		return 0;
	}
	if (option[0] == OPTION_END)
		return 1;
	if (option[0] == OPTION_NOP) {
		options->at++;
		return 0;
	}
	len = option[1];
	if (len < 2 || at + len > options->len)
		return 1;
	if (must_go(options, option, len)) {
		options->found |= FOUND_REMOVED;
		options->until = at + len;
		return 0;
	}
	if (option[0] == OPTION_MD5 || option[0] == OPTION_AO)
		options->found |= FOUND_SIGNATURE;
	if (option[0] == OPTION_TIMESTAMPS && len == OPTION_TIMESTAMPS_LEN) {
		options->found |= FOUND_TIMESTAMPS;
		__builtin_memcpy(options->timestamps, option + 2, TIMESTAMPS);
	}
	options->at = at + len;
	return 0;
}

/**
 * options_walk() - read a segment's options, and remove some
 * @skb: packet, which is changed if an option is removed
 * @packet: where its TCP header is
 * @work: @options has the result
 * @remove: enum option_remove, which options to remove
 *
 * Return: 0, or a negative number when the packet cannot be read or changed.
 */
static __always_inline int options_walk(struct __sk_buff *skb, const struct packet *packet,
					struct work *work, __u32 remove)
{
	struct options *options = &work->options;
	__u32 len = packet->header - TCP_HEADER;
	__s64 sum = 0;

	options->len = len;
	options->at = 0;
	options->until = 0;
	options->remove = remove;
	options->found = 0;
	if (len < 4)
		return 0;
	if (len > OPTIONS_MAX)
		return -1;
	__builtin_memset(options->bytes, 0, OPTIONS_MAX);
	if (bpf_skb_load_bytes(skb, packet->l4 + TCP_HEADER, options->bytes, len))
		return -1;
	if (remove != REMOVE_NOTHING)
		sum = bpf_csum_diff((__be32 *)options->bytes, OPTIONS_MAX, 0, 0, 0);
	/* At most one step for each byte, and one more for each option that is removed. */
	bpf_loop(2 * OPTIONS_MAX, options_step, 0, 0);
	if (!(options->found & FOUND_REMOVED))
		return 0;
	sum = bpf_csum_diff(0, 0, (__be32 *)options->bytes, OPTIONS_MAX, sum);
	if (bpf_skb_store_bytes(skb, packet->l4 + TCP_HEADER, options->bytes, len, 0))
		return -1;
	return bpf_l4_csum_replace(skb, packet->l4 + TCP_OFFSET(checksum), 0, sum, 0);
}

/* The usual layout if a segment other than a SYN has timestamps (RFC 7323, appendix A). */
#define TIMESTAMPS_FIRST bpf_htonl(0x0101080a)

/* Read only the timestamps. */
static __always_inline int options_timestamps(struct __sk_buff *skb, const struct packet *packet,
					      struct work *work)
{
	__be32 words[3];

	if (packet->header == TCP_HEADER + sizeof(words) &&
	    !bpf_skb_load_bytes(skb, packet->l4 + TCP_HEADER, words, sizeof(words)) &&
	    words[0] == TIMESTAMPS_FIRST) {
		work->options.found = FOUND_TIMESTAMPS;
		__builtin_memcpy(work->options.timestamps, &words[1], TIMESTAMPS);
		return 0;
	}
	return options_walk(skb, packet, work, REMOVE_NOTHING);
}

#endif

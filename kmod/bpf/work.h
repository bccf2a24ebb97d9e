/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a packet's treatment needs that does not fit on a stack of 512 bytes, one per CPU.
 *
 * A program is not interrupted by another run of itself, but for one that it starts: a copy that
 * it sends passes the egress program before bpf_clone_redirect() returns. Such a run is told by
 * @mode what to make of the copy, and uses @segment and @options, and nothing else of this.
 */
#ifndef CTPROXY_WORK_H
#define CTPROXY_WORK_H

#include "blake2s.h"
#include "packet.h"

#define HEADER_MIN 28
#define HEADER_MAX 77
#define HEADER_SPACE 80		/* of words that a checksum can be taken of, the rest zeros */

#define OPTIONS_MAX 40
#define TIMESTAMPS 8		/* bytes of a timestamp option behind kind and length */

enum mode {
	MODE_NONE,
	MODE_HEADER,	/* the copy of a client's segment becomes the header */
	MODE_ANSWER,	/* the copy of a server's segment is turned round, and becomes it */
	MODE_RESET,	/* the copy of a client's RST gets another number */
};

/**
 * struct order - the header segment that is to be sent, or the number of the RST
 * @seq: its number
 * @ack: for MODE_ANSWER, as @window and @timestamps: what the client has said last
 * @room: the header's length
 */
struct order {
	__u32 seq, ack;
	__be16 window;
	__u8 room;
	__u8 has_timestamps;
	__u8 timestamps[TIMESTAMPS];
	__u8 header[HEADER_SPACE];
};

/**
 * struct options - a segment's TCP options
 * @bytes: them, with so much behind that an index below 64 and an option's length stay inside
 * @len: of them
 * @at: where the walk is
 * @until: up to where bytes are overwritten
 * @found: enum option_found
 * @timestamps: value and echo, when found
 */
struct options {
	__u8 bytes[128];
	__u32 len, at, until;
	__u32 remove;
	__u32 found;
	__u8 timestamps[TIMESTAMPS];
};

struct work {
	__u32 mode;
	struct order order;
	struct options options;
	union {
		__u8 segment[TCP_HEADER_MAX + 4];
		struct tcp tcp;
	};
	union {
		__u8 header[2 * BLAKE2S_BLOCK];
		struct {
			__u8 block[2][BLAKE2S_BLOCK];
		};
	};
	struct blake2s hash;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct work);
} works SEC(".maps");

static __always_inline struct work *work_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&works, &zero);
}

#endif

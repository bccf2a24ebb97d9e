/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Scratch memory of a packet, one per CPU: it does not fit on the stack of 512 bytes.
 *
 * On one CPU a run of the program is interrupted only by a run that it starts itself: the egress
 * program runs on a copy before bpf_clone_redirect() returns. @mode tells that inner run what to
 * turn the copy into. The inner run reads @order and writes only @segment.
 */
#ifndef CTPROXY_WORK_H
#define CTPROXY_WORK_H

#include "blake2s.h"
#include "packet.h"

#define HEADER_MIN 28
#define HEADER_MAX 98
#define HEADER_SPACE 104	/* HEADER_MAX in whole words of 8 bytes */

#define OPTIONS_MAX 40
#define TIMESTAMPS 8		/* bytes of a timestamps option after kind and length */

/* The addresses and ports that packets on this device have: conntrack's reply tuple. */
struct flow_key {
	__u32 server[4], client[4];
	__be16 server_port, client_port;
	__u32 version;
};

enum mode {
	MODE_NONE,
	MODE_HEADER,	/* the copy of a client's segment becomes the header */
	MODE_ANSWER,	/* the copy of a server's segment becomes the header */
	MODE_RESET,	/* the copy of a client's RST gets another number */
};

/**
 * struct order - the header segment that is to be sent
 * @seq: its sequence number, or that of the RST for MODE_RESET
 * @ack: for MODE_ANSWER, like @window and @timestamps: from the client's latest segment
 * @ends: for MODE_ANSWER: the flow's key. NAT may already have changed the server's segment
 * @header_len: length of @header
 */
struct order {
	__u32 seq, ack;
	struct flow_key ends;
	__be16 window;
	__u8 header_len;
	__u8 has_timestamps;
	__u8 timestamps[TIMESTAMPS];
	__u8 header[HEADER_SPACE];
};

/**
 * struct options - a segment's TCP options
 * @bytes: the options; larger than they can be, so that the verifier sees every read inside
 * @len: length of the options
 * @at: where the walk is
 * @until: end of the option that is being overwritten
 * @remove: enum option_remove
 * @found: enum option_found
 * @timestamps: value and echo, if found
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

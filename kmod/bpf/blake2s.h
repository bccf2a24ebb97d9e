/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Keyed BLAKE2s with a digest of 16 bytes (RFC 7693), for messages of one or two blocks.
 *
 * Rounds are unrolled, because an index that is not a constant costs the verifier more than a
 * longer program. Words are in the machine's byte order: the object is for little-endian machines.
 */
#ifndef CTPROXY_BLAKE2S_H
#define CTPROXY_BLAKE2S_H

#include "kernel.h"

#define BLAKE2S_BLOCK 64
#define BLAKE2S_DIGEST 16

/**
 * struct blake2s - a hash under way
 * @h: state; after the last block its first bytes are the digest
 * @m: next block, padded with zeros
 * @count: bytes hashed, that block included
 * @last: that block is the last one
 */
struct blake2s {
	__u32 h[8];
	union {
		__u32 m[16];
		__u8 block[BLAKE2S_BLOCK];
	};
	__u32 count;
	__u32 last;
};

#define IV0 0x6a09e667
#define IV1 0xbb67ae85
#define IV2 0x3c6ef372
#define IV3 0xa54ff53a
#define IV4 0x510e527f
#define IV5 0x9b05688c
#define IV6 0x1f83d9ab
#define IV7 0x5be0cd19

#define ROTATE(x, n) ((x) >> (n) | (x) << (32 - (n)))

#define G(a, b, c, d, x, y)                                                                        \
	do {                                                                                       \
		a += b + (x);                                                                      \
		d = ROTATE(d ^ a, 16);                                                             \
		c += d;                                                                            \
		b = ROTATE(b ^ c, 12);                                                             \
		a += b + (y);                                                                      \
		d = ROTATE(d ^ a, 8);                                                              \
		c += d;                                                                            \
		b = ROTATE(b ^ c, 7);                                                              \
	} while (0)

/* One line of the RFC's SIGMA. */
#define ROUND(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15)                \
	do {                                                                                       \
		G(v0, v4, v8, v12, m[s0], m[s1]);                                                  \
		G(v1, v5, v9, v13, m[s2], m[s3]);                                                  \
		G(v2, v6, v10, v14, m[s4], m[s5]);                                                 \
		G(v3, v7, v11, v15, m[s6], m[s7]);                                                 \
		G(v0, v5, v10, v15, m[s8], m[s9]);                                                 \
		G(v1, v6, v11, v12, m[s10], m[s11]);                                               \
		G(v2, v7, v8, v13, m[s12], m[s13]);                                                \
		G(v3, v4, v9, v14, m[s14], m[s15]);                                                \
	} while (0)

/* The compression function. Not inlined: the verifier then checks it once, by itself. */
__noinline int blake2s_compress(struct blake2s *hash)
{
	__u32 v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15;
	/* volatile, or the compiler keeps a copy on the stack, which has 512 bytes. */
	const volatile __u32 *m;

	if (!hash)
		return -1;
	m = hash->m;
	v0 = hash->h[0];
	v1 = hash->h[1];
	v2 = hash->h[2];
	v3 = hash->h[3];
	v4 = hash->h[4];
	v5 = hash->h[5];
	v6 = hash->h[6];
	v7 = hash->h[7];
	v8 = IV0;
	v9 = IV1;
	v10 = IV2;
	v11 = IV3;
	v12 = IV4 ^ hash->count;
	v13 = IV5;
	v14 = hash->last ? ~IV6 : IV6;
	v15 = IV7;
	ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
	ROUND(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3);
	ROUND(11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4);
	ROUND(7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8);
	ROUND(9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13);
	ROUND(2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9);
	ROUND(12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11);
	ROUND(13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10);
	ROUND(6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5);
	ROUND(10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0);
	hash->h[0] ^= v0 ^ v8;
	hash->h[1] ^= v1 ^ v9;
	hash->h[2] ^= v2 ^ v10;
	hash->h[3] ^= v3 ^ v11;
	hash->h[4] ^= v4 ^ v12;
	hash->h[5] ^= v5 ^ v13;
	hash->h[6] ^= v6 ^ v14;
	hash->h[7] ^= v7 ^ v15;
	return 0;
}

/* Start with a key of @len bytes, which is in @hash->block, padded with zeros. */
static __always_inline void blake2s_begin(struct blake2s *hash, __u32 len)
{
	hash->h[0] = IV0 ^ 0x01010000 ^ len << 8 ^ BLAKE2S_DIGEST;
	hash->h[1] = IV1;
	hash->h[2] = IV2;
	hash->h[3] = IV3;
	hash->h[4] = IV4;
	hash->h[5] = IV5;
	hash->h[6] = IV6;
	hash->h[7] = IV7;
	hash->count = BLAKE2S_BLOCK;
	hash->last = 0;
	blake2s_compress(hash);
}

/* Hash @len more bytes, which are in @hash->block, padded with zeros. */
static __always_inline void blake2s_add(struct blake2s *hash, __u32 len, bool last)
{
	hash->count += len;
	hash->last = last;
	blake2s_compress(hash);
}

#endif

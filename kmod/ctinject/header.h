/* SPDX-License-Identifier: GPL-2.0-only */
/* The PROXY protocol v2 header and its authentication TLV: docs/wire-formats.md#version-2. */
#ifndef CTINJECT_HEADER_H
#define CTINJECT_HEADER_H

#include <linux/types.h>

struct nf_conn;
struct signing_key;

/* The first 16 bytes are in every header; addresses and ports, then the TLV, follow. */
#define HEADER_PLAIN_IPV4 (16 + 12)
#define HEADER_PLAIN_IPV6 (16 + 36)
#define HEADER_AUTH (3 + 22)
#define HEADER_MAX (HEADER_PLAIN_IPV6 + HEADER_AUTH)

unsigned int header_size(u8 family, bool is_signed);
unsigned int header_build(u8 *header, const struct nf_conn *ct, const struct signing_key *key,
			  u32 time);

#endif

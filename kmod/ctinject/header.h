/* SPDX-License-Identifier: GPL-2.0-only */
/* The PROXY protocol v2 header and its TLVs: docs/wire-formats.md#version-2. */
#ifndef CTINJECT_HEADER_H
#define CTINJECT_HEADER_H

#include <linux/types.h>

struct nf_conn;
struct signing_key;

/* The first 16 bytes are in every header; addresses and ports, then the TLVs, follow. */
#define HEADER_PLAIN_IPV4 (16 + 12)
#define HEADER_PLAIN_IPV6 (16 + 36)
#define HEADER_AUTH (3 + 22)
#define HEADER_SOURCE_IPV4 (3 + 6)
#define HEADER_SOURCE_IPV6 (3 + 18)
#define HEADER_MAX (HEADER_PLAIN_IPV6 + HEADER_AUTH + HEADER_SOURCE_IPV6)

unsigned int header_size(const struct nf_conn *ct, bool is_signed);
unsigned int header_build(u8 *header, const struct nf_conn *ct, const struct signing_key *key,
			  u32 time);

#endif

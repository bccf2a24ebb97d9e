// SPDX-License-Identifier: GPL-2.0-only
/*
 * Builds the PROXY protocol v2 header and its authentication TLV.
 *
 *	 0  \r\n\r\n\0\r\nQUIT\n		signature
 *	12  0x21			version 2, command PROXY
 *	13  0x11 0x12 0x21 0x22		TCP4 UDP4 TCP6 UDP6
 *	14  u16				length of the rest
 *	16  source address, destination address, source port, destination port: of the client and
 *	    of the original destination
 *	28  (IPv6: 52) E7 00 16 01 key-id time[4] tag[16], if a key signs
 *
 * The tag is a BLAKE2s digest of 16 bytes over the whole header, with zeroes in the tag's place.
 */

#include <linux/string.h>
#include <net/netfilter/nf_conntrack.h>

#include "compat.h"
#include "header.h"
#include "keys.h"

#define TLV_AUTH 0xe7
#define TLV_AUTH_LENGTH 22
#define TLV_AUTH_VERSION 1
#define TAG_LENGTH 16

static const u8 start[] = "\r\n\r\n\0\r\nQUIT\n\x21";

unsigned int header_size(u8 family, bool is_signed)
{
	return (family == NFPROTO_IPV4 ? HEADER_PLAIN_IPV4 : HEADER_PLAIN_IPV6) +
	       (is_signed ? HEADER_AUTH : 0);
}

static u8 *put(u8 *to, const void *from, unsigned int len)
{
	memcpy(to, from, len);
	return to + len;
}

static u8 *put_addresses(u8 *at, const struct nf_conntrack_tuple *original)
{
	unsigned int len = original->src.l3num == NFPROTO_IPV4 ? 4 : 16;

	at = put(at, &original->src.u3, len);
	at = put(at, &original->dst.u3, len);
	at = put(at, &original->src.u.all, 2);
	return put(at, &original->dst.u.all, 2);
}

static u8 *put_auth(u8 *at, const struct signing_key *key, u32 time)
{
	*at++ = TLV_AUTH;
	put_unaligned_be16(TLV_AUTH_LENGTH, at);
	at += 2;
	*at++ = TLV_AUTH_VERSION;
	*at++ = key->id;
	put_unaligned_be32(time, at);
	at += 4;
	memset(at, 0, TAG_LENGTH);
	return at + TAG_LENGTH;
}

/**
 * header_build() - write the header of a connection, or of one datagram
 * @header: HEADER_MAX bytes
 * @ct: its conntrack
 * @key: the key that signs, or NULL
 * @time: Unix seconds, for the signature
 *
 * Return: the length, as header_size() tells it.
 */
unsigned int header_build(u8 *header, const struct nf_conn *ct, const struct signing_key *key,
			  u32 time)
{
	const struct nf_conntrack_tuple *original = nf_ct_tuple(ct, IP_CT_DIR_ORIGINAL);
	u8 family = original->src.l3num == NFPROTO_IPV4 ? 0x10 : 0x20;
	u8 transport = original->dst.protonum == IPPROTO_TCP ? 0x01 : 0x02;
	u8 *at = put(header, start, sizeof(start) - 1);

	*at++ = family | transport;
	at = put_addresses(at + 2, original);
	if (key)
		at = put_auth(at, key, time);
	put_unaligned_be16(at - header - 16, header + 14);
	if (key)
		compat_blake2s(at - TAG_LENGTH, TAG_LENGTH, key->secret, key->len, header,
			       at - header);
	return at - header;
}

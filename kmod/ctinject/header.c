// SPDX-License-Identifier: GPL-2.0-only
/*
 * Builds the PROXY protocol v2 header and its TLVs.
 *
 *	 0  \r\n\r\n\0\r\nQUIT\n		signature
 *	12  0x21			version 2, command PROXY
 *	13  0x11 0x12 0x21 0x22		TCP4 UDP4 TCP6 UDP6
 *	14  u16				length of the rest
 *	16  source address, destination address, source port, destination port: of the client and
 *	    of the original destination
 *	28  (IPv6: 52) E7 00 16 01 key-id time[4] tag[16], if a key signs
 *	53  (IPv6: 77) E8 00 06 (IPv6: 12) address, port: the source that the server sees, if a key
 *	    signs and NAT has changed the source
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
#define TLV_SOURCE 0xe8

static const u8 start[] = "\r\n\r\n\0\r\nQUIT\n\x21";

/*
 * Whether the source was changed by NAT. Conntrack itself changes the port, to tell the replies
 * apart, when one client port has two original destinations that lead to one server.
 */
static bool source_translated(const struct nf_conn *ct)
{
	const struct nf_conntrack_tuple *original = nf_ct_tuple(ct, IP_CT_DIR_ORIGINAL);
	const struct nf_conntrack_tuple *reply = nf_ct_tuple(ct, IP_CT_DIR_REPLY);

	return !nf_inet_addr_cmp(&original->src.u3, &reply->dst.u3) ||
	       original->src.u.all != reply->dst.u.all;
}

/**
 * header_size() - how long header_build() makes the header
 * @ct: conntrack of the connection, translated
 * @is_signed: whether a key signs
 */
unsigned int header_size(const struct nf_conn *ct, bool is_signed)
{
	bool is_ipv4 = nf_ct_l3num(ct) == NFPROTO_IPV4;
	unsigned int size = is_ipv4 ? HEADER_PLAIN_IPV4 : HEADER_PLAIN_IPV6;

	if (!is_signed)
		return size;
	size += HEADER_AUTH;
	if (source_translated(ct))
		size += is_ipv4 ? HEADER_SOURCE_IPV4 : HEADER_SOURCE_IPV6;
	return size;
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

static u8 *put_source(u8 *at, const struct nf_conntrack_tuple *reply)
{
	unsigned int len = reply->src.l3num == NFPROTO_IPV4 ? 4 : 16;

	*at++ = TLV_SOURCE;
	put_unaligned_be16(len + 2, at);
	at = put(at + 2, &reply->dst.u3, len);
	return put(at, &reply->dst.u.all, 2);
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
	u8 *at = put(header, start, sizeof(start) - 1), *tag = NULL;

	*at++ = family | transport;
	at = put_addresses(at + 2, original);
	if (key) {
		at = put_auth(at, key, time);
		tag = at - TAG_LENGTH;
		if (source_translated(ct))
			at = put_source(at, nf_ct_tuple(ct, IP_CT_DIR_REPLY));
	}
	put_unaligned_be16(at - header - 16, header + 14);
	if (key)
		compat_blake2s(tag, TAG_LENGTH, key->secret, key->len, header, at - header);
	return at - header;
}

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The PROXY protocol v2 header and its TLVs: docs/wire-formats.md#version-2.
 *
 *	 0  \r\n\r\n\0\r\nQUIT\n		signature
 *	12  0x21			version 2, command PROXY
 *	13  0x11 or 0x21		TCP over IPv4 or IPv6; UDP: 0x12 or 0x22
 *	14  length of what follows	u16
 *	16  source, destination, source port, destination port, as the client sent them
 *	 ?  E7 00 16 01 key-id time[4] tag[16], if a key signs
 *	 ?  E8 00 06 (IPv6: 12) address, port: the source that the server sees, if a key signs and
 *	    NAT has changed the source
 *
 * The tag is BLAKE2s over the whole header, with zeros in place of the tag.
 */
#ifndef CTPROXY_HEADER_H
#define CTPROXY_HEADER_H

#include "conntrack.h"
#include "work.h"

#define HEADER_ADDRESSES 16	/* offset of the addresses */
#define HEADER_IPV4 28
#define HEADER_IPV6 52
#define HEADER_AUTH 25

enum transport {
	TRANSPORT_STREAM = 1,
	TRANSPORT_DATAGRAM = 2,
};

#define TLV_SOURCE 0xe8
#define TLV_AUTH 0xe7
#define TLV_AUTH_LENGTH 22
#define TLV_AUTH_VERSION 1

static __always_inline void put_addresses(__u8 *header, const struct nf_conn *ct, __u32 size)
{
	__u8 *at = header + HEADER_ADDRESSES;
	__be16 ports[2] = {
		BPF_CORE_READ(ct, tuplehash[IP_CT_DIR_ORIGINAL].tuple.src.u.all),
		BPF_CORE_READ(ct, tuplehash[IP_CT_DIR_ORIGINAL].tuple.dst.u.all),
	};
	__u32 address[4];

	BPF_CORE_READ_INTO(&address, ct, tuplehash[IP_CT_DIR_ORIGINAL].tuple.src.u3.all);
	__builtin_memcpy(at, address, size);
	BPF_CORE_READ_INTO(&address, ct, tuplehash[IP_CT_DIR_ORIGINAL].tuple.dst.u3.all);
	__builtin_memcpy(at + size, address, size);
	__builtin_memcpy(at + 2 * size, ports, sizeof(ports));
}

/* Write the client's addresses and ports to @work->header, as header_build() does. */
static __always_inline void header_addresses(struct work *work, const struct nf_conn *ct,
					     __u8 version)
{
	if (version == 4)
		put_addresses(work->header, ct, 4);
	else
		put_addresses(work->header, ct, 16);
}

/* Copy the key to the block that is hashed first, under its lock. Returns its length. */
static __always_inline __u32 read_key(struct blake2s *hash, __u8 *id)
{
	struct signing_key *key;
	__u32 zero = 0, len;

	key = bpf_map_lookup_elem(&signing_keys, &zero);
	if (!key)
		return 0;
	__builtin_memset(hash->block, 0, BLAKE2S_BLOCK);
	bpf_spin_lock(&key->lock);
	__builtin_memcpy(hash->block, key->secret, KEY_MAX);
	*id = key->id;
	len = key->len;
	bpf_spin_unlock(&key->lock);
	return len;
}

static __always_inline __u32 unix_time(const struct settings *settings)
{
	return bpf_ktime_get_tai_ns() / NSEC_PER_SEC - settings->tai_offset;
}

/* Sign a header of @len bytes, the TLVs included. Returns 0, or -1 when there is no key. */
static __always_inline int sign(struct work *work, __u32 len, const struct settings *settings)
{
	struct blake2s *hash = &work->hash;
	__u32 key_len, time = bpf_htonl(unix_time(settings));
	__u8 *tlv, id = 0;

	if (len < HEADER_IPV6 + HEADER_AUTH)
		tlv = work->header + HEADER_IPV4;
	else
		tlv = work->header + HEADER_IPV6;
	key_len = read_key(hash, &id);
	if (!key_len)
		return -1;
	tlv[0] = TLV_AUTH;
	tlv[2] = TLV_AUTH_LENGTH;
	tlv[3] = TLV_AUTH_VERSION;
	tlv[4] = id;
	__builtin_memcpy(tlv + 5, &time, sizeof(time));
	blake2s_begin(hash, key_len);
	__builtin_memcpy(hash->block, work->block[0], BLAKE2S_BLOCK);
	if (len <= BLAKE2S_BLOCK) {
		blake2s_add(hash, len, true);
	} else {
		blake2s_add(hash, BLAKE2S_BLOCK, false);
		__builtin_memcpy(hash->block, work->block[1], BLAKE2S_BLOCK);
		blake2s_add(hash, len - BLAKE2S_BLOCK, true);
	}
	__builtin_memcpy(tlv + 9, hash->h, BLAKE2S_DIGEST);
	return 0;
}

/*
 * Write the TLV of the translated source behind the place of the signature, if NAT has changed the
 * source. Conntrack itself changes the port, to tell the replies apart, when one client port has
 * two original destinations that lead to one server. @size: of an address. Returns the TLV's length.
 */
static __always_inline __u32 put_source(__u8 *tlv, const struct nf_conn *ct, __u32 size)
{
	__be16 port = BPF_CORE_READ(ct, tuplehash[IP_CT_DIR_REPLY].tuple.dst.u.all);
	__u32 address[4], original[4];

	BPF_CORE_READ_INTO(&address, ct, tuplehash[IP_CT_DIR_REPLY].tuple.dst.u3.all);
	BPF_CORE_READ_INTO(&original, ct, tuplehash[IP_CT_DIR_ORIGINAL].tuple.src.u3.all);
	if (port == BPF_CORE_READ(ct, tuplehash[IP_CT_DIR_ORIGINAL].tuple.src.u.all) &&
	    address[0] == original[0] && address[1] == original[1] &&
	    address[2] == original[2] && address[3] == original[3])
		return 0;
	tlv[0] = TLV_SOURCE;
	tlv[2] = size + sizeof(port);
	__builtin_memcpy(tlv + 3, address, size);
	__builtin_memcpy(tlv + 3 + size, &port, sizeof(port));
	return 3 + size + sizeof(port);
}

/**
 * header_build() - write a connection's header to @work->header, zeros after it
 * @work: this CPU's
 * @ct: conntrack entry of the connection
 * @version: 4 or 6, of IP
 * @transport: what follows the header
 * @settings: tells whether headers are signed
 *
 * Return: its length; 0 when it must be signed and there is no key.
 */
static __always_inline __u32 header_build(struct work *work, const struct nf_conn *ct,
					  __u8 version, enum transport transport,
					  const struct settings *settings)
{
	static const __u8 start[] = "\r\n\r\n\0\r\nQUIT\n\x21";
	__u32 len = version == 4 ? HEADER_IPV4 : HEADER_IPV6;

	__builtin_memset(work->header, 0, sizeof(work->header));
	__builtin_memcpy(work->header, start, 13);
	if (version == 4) {
		work->header[13] = 0x10 | transport;
		put_addresses(work->header, ct, 4);
	} else {
		work->header[13] = 0x20 | transport;
		put_addresses(work->header, ct, 16);
	}
	if (settings->is_signed) {
		len += HEADER_AUTH;
		if (version == 4)
			len += put_source(work->header + HEADER_IPV4 + HEADER_AUTH, ct, 4);
		else
			len += put_source(work->header + HEADER_IPV6 + HEADER_AUTH, ct, 16);
	}
	work->header[15] = len - HEADER_ADDRESSES;
	if (settings->is_signed && sign(work, len, settings))
		return 0;
	return len;
}

#endif

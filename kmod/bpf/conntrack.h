/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether the connection of a packet that is about to leave gets a header.
 *
 * The packet has a pointer to its conntrack entry, so there is no lookup that could miss one in
 * another zone, one that is being deleted, or that of a fragment without ports. Only a packet that
 * was never tracked has no entry, and such a packet was not translated either.
 */
#ifndef CTPROXY_CONNTRACK_H
#define CTPROXY_CONNTRACK_H

#include "settings.h"
#include "packet.h"

static __always_inline struct nf_conn *conntrack_pointer(struct __sk_buff *skb)
{
	return (struct nf_conn *)(BPF_CORE_READ((struct sk_buff *)skb, _nfct) & ~NFCT_INFOMASK);
}

static __always_inline bool conntrack_is_reply(struct __sk_buff *skb)
{
	return (BPF_CORE_READ((struct sk_buff *)skb, _nfct) & NFCT_INFOMASK) >= IP_CT_IS_REPLY;
}

enum selected {
	SELECTED_NOT,
	SELECTED_DIRECT,	/* matches, but its destination was not translated */
	SELECTED_UNTRACKED,	/* matches, but has no conntrack entry that could tell */
	SELECTED_OURS,		/* gets a header */
};

static __always_inline bool is_backend(const struct packet *packet)
{
	struct backend backend = {
		.port = packet->tcp.destination,
		.version = packet->version,
	};

	__builtin_memcpy(backend.address, packet->destination, sizeof(backend.address));
	return bpf_map_lookup_elem(&backends, &backend);
}

/* Kernels without CONFIG_NF_CONNTRACK_MARK have no marks: `ctwsgi gateway` refuses --mark there. */
static __always_inline bool conntrack_is_marked(const struct nf_conn *ct,
						const struct settings *settings)
{
	return bpf_core_field_exists(ct->mark) &&
	       (BPF_CORE_READ(ct, mark) & settings->mask) == settings->mark;
}

/**
 * conntrack_select() - does a packet's connection get a header?
 * @skb: packet, on its way to the server
 * @packet: its addresses and ports
 * @settings: which connections are selected
 */
static __always_inline enum selected conntrack_select(struct __sk_buff *skb,
						      const struct packet *packet,
						      const struct settings *settings)
{
	const struct nf_conn *ct = conntrack_pointer(skb);
	unsigned long status;

	if (settings->selection == SELECT_BACKENDS && !is_backend(packet))
		return SELECTED_NOT;
	status = ct ? BPF_CORE_READ(ct, status) : IPS_TEMPLATE;
	if (status & IPS_TEMPLATE)
		return settings->selection == SELECT_BACKENDS ? SELECTED_UNTRACKED : SELECTED_NOT;
	if (conntrack_is_reply(skb))
		return SELECTED_NOT;
	if (settings->selection == SELECT_MARK && !conntrack_is_marked(ct, settings))
		return SELECTED_NOT;
	return status & IPS_DST_NAT ? SELECTED_OURS : SELECTED_DIRECT;
}

#endif

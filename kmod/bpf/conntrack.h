/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What conntrack knows of a packet that is about to leave, and whether its connection is ours.
 *
 * The packet carries its conntrack, so nothing is looked up and nothing can be missed: not another
 * zone, not an entry that is being deleted, not a fragment without ports. Only a packet that was
 * never tracked has none, and such a packet was not translated either.
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
	SELECTED_DIRECT,	/* it would be, if it had been translated */
	SELECTED_UNTRACKED,	/* it would be, but there is no telling whether it was */
	SELECTED_OURS,
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

/**
 * conntrack_select() - is a packet's connection one that gets a header?
 * @skb: packet, on its way out
 * @packet: its addresses and ports
 * @settings: which are
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
	if (settings->selection == SELECT_MARK &&
	    (BPF_CORE_READ(ct, mark) & settings->mask) != settings->mark)
		return SELECTED_NOT;
	return status & IPS_DST_NAT ? SELECTED_OURS : SELECTED_DIRECT;
}

#endif

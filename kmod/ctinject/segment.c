// SPDX-License-Identifier: GPL-2.0-only
/*
 * Finds the parts of packets, and changes them.
 *
 * An skb at a netfilter hook may be a GSO packet of 64 KB. Its payload lies in page fragments, it
 * may share its data with a clone, and its checksum may be left to the device. Therefore:
 *  - the length is skb->len, not tot_len, which is 0 beyond 64 KB;
 *  - to insert bytes in front of the payload, the headers move towards skb->head, not the payload;
 *  - a function that changes the payload leaves the checksum to the device (CHECKSUM_PARTIAL),
 *    whatever it was before: conntrack has verified the packets that came from a wire;
 *  - pointers are computed again after each call that may move data.
 */

#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <linux/udp.h>
#include <net/dst.h>
#include <net/ip.h>
#include <net/ip6_checksum.h>
#include <net/ipv6.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/tcp.h>

#include "ctinject.h"
#include "segment.h"

static enum parsed find_l4(const struct sk_buff *skb, u8 protocol, struct segment *seg)
{
	__be16 fragment = 0;
	int offset;
	u8 next;

	if (seg->family == NFPROTO_IPV4) {
		const struct iphdr *iph = ip_hdr(skb);

		if (iph->protocol != protocol || iph->frag_off & htons(IP_OFFSET))
			return PARSED_OTHER;
		seg->l4 = iph->ihl * 4;
		return PARSED_OK;
	}
	next = ipv6_hdr(skb)->nexthdr;
	offset = ipv6_skip_exthdr(skb, sizeof(struct ipv6hdr), &next, &fragment);
	if (offset < 0 || next != protocol || fragment & htons(IP6_OFFSET))
		return PARSED_OTHER;
	seg->l4 = offset;
	return PARSED_OK;
}

/**
 * segment_parse() - find the transport header and the payload
 * @skb: packet; its headers are pulled into the linear part
 * @state: hook
 * @protocol: IPPROTO_TCP or IPPROTO_UDP: other packets are PARSED_OTHER
 * @seg: result
 */
enum parsed segment_parse(struct sk_buff *skb, const struct nf_hook_state *state, u8 protocol,
			  struct segment *seg)
{
	unsigned int header = sizeof(struct udphdr);
	enum parsed found;

	seg->family = state->pf;
	found = find_l4(skb, protocol, seg);
	if (found != PARSED_OK)
		return found;
	if (protocol == IPPROTO_TCP)
		header = sizeof(struct tcphdr);
	if (!pskb_may_pull(skb, seg->l4 + header))
		return PARSED_MALFORMED;
	if (protocol == IPPROTO_TCP) {
		header = segment_tcp(skb, seg)->doff * 4;
		if (header < sizeof(struct tcphdr) || !pskb_may_pull(skb, seg->l4 + header))
			return PARSED_MALFORMED;
	}
	seg->payload = seg->l4 + header;
	seg->len = skb->len - seg->payload;
	return PARSED_OK;
}

/*
 * Whether the checksum is wrong. A corrupt packet must not be changed, since that makes its
 * checksum right. Conntrack has verified checksums, unless nf_conntrack_checksum is 0.
 */
bool segment_corrupt(struct sk_buff *skb, const struct segment *seg, u8 protocol,
		     const struct nf_hook_state *state)
{
	return !state->net->ct.sysctl_checksum && skb->ip_summed != CHECKSUM_PARTIAL &&
	       nf_checksum(skb, NF_INET_PRE_ROUTING, seg->l4, protocol, state->pf);
}

/* Makes the headers private to this skb. Returns 0 or an error number. */
int segment_writable(struct sk_buff *skb, const struct segment *seg)
{
	return skb_ensure_writable(skb, seg->payload);
}

static void set_word(struct sk_buff *skb, struct tcphdr *th, __be32 *word, u32 number)
{
	__be32 to = htonl(number);

	if (*word == to)
		return;
	inet_proto_csum_replace4(&th->check, skb, *word, to, false);
	*word = to;
}

void segment_set_seq(struct sk_buff *skb, const struct segment *seg, u32 number)
{
	struct tcphdr *th = segment_tcp(skb, seg);

	set_word(skb, th, &th->seq, number);
}

void segment_set_ack(struct sk_buff *skb, const struct segment *seg, u32 number)
{
	struct tcphdr *th = segment_tcp(skb, seg);

	set_word(skb, th, &th->ack_seq, number);
}

void segment_set_window(struct sk_buff *skb, const struct segment *seg, u16 window)
{
	struct tcphdr *th = segment_tcp(skb, seg);
	__be16 to = htons(window);

	inet_proto_csum_replace2(&th->check, skb, th->window, to, false);
	th->window = to;
}

/* The urgent pointer would be wrong, since headers add bytes: urgent data becomes ordinary data. */
void segment_clear_urgent(struct sk_buff *skb, const struct segment *seg)
{
	struct tcphdr *th = segment_tcp(skb, seg);
	__be16 *flags = (__be16 *)th + 6;
	__be16 was = *flags;

	th->urg = 0;
	inet_proto_csum_replace2(&th->check, skb, was, *flags, false);
	inet_proto_csum_replace2(&th->check, skb, th->urg_ptr, 0, false);
	th->urg_ptr = 0;
}

static __sum16 pseudo_header(const struct sk_buff *skb, const struct segment *seg, u8 protocol)
{
	unsigned int len = skb->len - seg->l4;

	if (seg->family == NFPROTO_IPV4)
		return ~csum_tcpudp_magic(ip_hdr(skb)->saddr, ip_hdr(skb)->daddr, len, protocol, 0);
	return ~csum_ipv6_magic(&ipv6_hdr(skb)->saddr, &ipv6_hdr(skb)->daddr, len, protocol, 0);
}

/**
 * segment_lengths() - update lengths and checksums after the payload has changed
 * @skb: packet, at most 65535 bytes
 * @seg: its offsets; the caller has updated @seg->len
 * @protocol: IPPROTO_TCP or IPPROTO_UDP
 */
void segment_lengths(struct sk_buff *skb, const struct segment *seg, u8 protocol)
{
	__sum16 *check;

	if (seg->family == NFPROTO_IPV4) {
		ip_hdr(skb)->tot_len = htons(skb->len);
		ip_send_check(ip_hdr(skb));
	} else {
		ipv6_hdr(skb)->payload_len = htons(skb->len - sizeof(struct ipv6hdr));
	}
	if (protocol == IPPROTO_UDP) {
		struct udphdr *uh = (struct udphdr *)(skb->data + seg->l4);

		uh->len = htons(skb->len - seg->l4);
		/* A datagram over IPv4 may have no checksum: leave it without. */
		if (!uh->check && skb->ip_summed != CHECKSUM_PARTIAL) {
			skb->ip_summed = CHECKSUM_NONE;
			return;
		}
		check = &uh->check;
		skb->csum_offset = offsetof(struct udphdr, check);
	} else {
		check = &segment_tcp(skb, seg)->check;
		skb->csum_offset = offsetof(struct tcphdr, check);
	}
	skb->ip_summed = CHECKSUM_PARTIAL;
	skb->csum_start = skb_headroom(skb) + seg->l4;
	*check = pseudo_header(skb, seg, protocol);
}

/**
 * segment_insert() - open a gap in front of the payload
 * @skb: packet
 * @seg: its offsets, which are updated
 * @n: bytes
 *
 * Moves the headers, with that of the link layer, towards skb->head. The caller fills the gap
 * and then calls segment_lengths().
 *
 * Return: the gap, or NULL if memory is short.
 */
u8 *segment_insert(struct sk_buff *skb, struct segment *seg, unsigned int n)
{
	unsigned int mac = 0;

	/*
	 * A packet that is forwarded still has the link header that it came with, and some drivers
	 * read it.
	 */
	if (skb_mac_header_was_set(skb) && skb->mac_len &&
	    skb_mac_header(skb) + skb->mac_len == skb_network_header(skb))
		mac = skb->mac_len;
	/* GSO would cut a frag_list between its members, where segments no longer begin. */
	if (skb_has_frag_list(skb) && skb_is_gso(skb) && skb_linearize(skb))
		return NULL;
	if (skb_cow_head(skb, n + mac))
		return NULL;
	skb_push(skb, n);
	memmove(skb->data - mac, skb->data - mac + n, mac + seg->payload);
	if (mac)
		skb->mac_header -= n;
	skb_reset_network_header(skb);
	skb_set_transport_header(skb, seg->l4);
	seg->payload += n;
	return skb->data + seg->payload - n;
}

/* Makes the whole packet linear and private, with at least @tailroom bytes behind it. */
int segment_linear(struct sk_buff *skb, unsigned int tailroom)
{
	int lacking;

	if (skb_linearize(skb))
		return -ENOMEM;
	lacking = max_t(int, 0, (int)tailroom - skb_tailroom(skb));
	return pskb_expand_head(skb, 0, lacking, GFP_ATOMIC);
}

static void no_gso(struct sk_buff *skb)
{
	skb_shinfo(skb)->gso_size = 0;
	skb_shinfo(skb)->gso_type = 0;
	skb_shinfo(skb)->gso_segs = 0;
}

/* Cuts the payload down to @len bytes. */
int segment_trim(struct sk_buff *skb, struct segment *seg, unsigned int len)
{
	if (pskb_trim(skb, seg->payload + len))
		return -ENOMEM;
	seg->len = len;
	/* A GSO packet of one segment would be refused. */
	if (len <= skb_shinfo(skb)->gso_size)
		no_gso(skb);
	else if (skb_is_gso(skb))
		skb_shinfo(skb)->gso_segs = DIV_ROUND_UP(len, skb_shinfo(skb)->gso_size);
	segment_lengths(skb, seg, IPPROTO_TCP);
	return 0;
}

/**
 * segment_become_header() - replace the payload of a packet by the header
 * @skb: packet of the client; private to the caller
 * @seg: its offsets, which are updated
 * @seq: number of the header's first byte
 * @header: the header
 * @len: its length
 *
 * Ack, window, timestamps and the flags of ECN stay as the client has sent them: with Accurate ECN
 * (RFC 9768) these are a counter, and in the last ACK of a handshake zeros would switch it off. The
 * older ECN bears that a CWR comes twice.
 */
int segment_become_header(struct sk_buff *skb, struct segment *seg, u32 seq, const u8 *header,
			  unsigned int len)
{
	struct tcphdr *th;

	if (pskb_trim(skb, seg->payload))
		return -ENOMEM;
	if (pskb_expand_head(skb, 0, max_t(int, 0, (int)len - skb_tailroom(skb)), GFP_ATOMIC))
		return -ENOMEM;
	skb_put_data(skb, header, len);
	no_gso(skb);
	seg->len = len;
	th = segment_tcp(skb, seg);
	th->seq = htonl(seq);
	th->ack = 1;
	th->psh = 1;
	th->fin = 0;
	th->syn = 0;
	th->rst = 0;
	th->urg = 0;
	th->urg_ptr = 0;
	segment_lengths(skb, seg, IPPROTO_TCP);
	return 0;
}

/*
 * A copy of a packet, with what is in front of it: pskb_copy() leaves out the headroom. There a
 * packet that a bridge passes on has its Ethernet header, which nobody writes again.
 */
static struct sk_buff *copy_with_link_header(struct sk_buff *skb)
{
	struct sk_buff *copy = pskb_copy(skb, GFP_ATOMIC);

	/* Another headroom, as by __pskb_copy(), would not adjust the header offsets. */
	if (copy && skb_mac_header_was_set(skb) && skb_mac_header(skb) < skb->data)
		memcpy(skb_mac_header(copy), skb_mac_header(skb),
		       skb->data - skb_mac_header(skb));
	return copy;
}

/**
 * segment_send_header() - send the header as a segment of its own, ahead of a packet
 * @skb: packet of the client, which is not changed
 * @seg: its offsets
 * @seq: number of the header's first byte
 * @header: the header
 * @len: its length
 * @state: hook. The new segment skips the hooks that follow this one. Among them is nf_confirm, so
 *	the conntrack must be confirmed
 *
 * The caller must hold no lock: at LOCAL_IN this runs the server's TCP, whose answer passes the
 * reply hook before this function returns.
 */
int segment_send_header(struct sk_buff *skb, const struct segment *seg, u32 seq, const u8 *header,
			unsigned int len, const struct nf_hook_state *state)
{
	struct segment copy_seg = *seg;
	struct sk_buff *copy;

	copy = copy_with_link_header(skb);
	if (!copy)
		return -ENOMEM;
	if (segment_become_header(copy, &copy_seg, seq, header, len)) {
		kfree_skb(copy);
		return -ENOMEM;
	}
	state->okfn(state->net, state->sk, copy);
	return 0;
}

/* Sends a copy of a packet without payload under another sequence number, ahead of it. */
int segment_send_copy(struct sk_buff *skb, const struct segment *seg, u32 seq,
		      const struct nf_hook_state *state)
{
	struct sk_buff *copy = copy_with_link_header(skb);

	if (!copy)
		return -ENOMEM;
	segment_set_seq(copy, seg, seq);
	state->okfn(state->net, state->sk, copy);
	return 0;
}

/* The largest packet that may leave through this hook; 65535 if it goes to this host. */
unsigned int segment_mtu(const struct sk_buff *skb, const struct nf_hook_state *state)
{
	const struct dst_entry *dst = skb_dst(skb);

	if (state->hook == NF_INET_LOCAL_IN || !dst)
		return 65535;
	return min_t(unsigned int, dst_mtu(dst), 65535);
}

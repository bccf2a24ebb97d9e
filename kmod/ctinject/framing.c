// SPDX-License-Identifier: GPL-2.0-only
/*
 * `ctframe`: puts the headers of frames into a segment. A segment to the server
 *
 *	1. is committed: its new bytes become a frame;
 *	2. gets the headers of all frames that begin inside it;
 *	3. gets a sequence number that counts the headers before it.
 *
 * framing_commit() and framing_plan() need flow->lock, framing_carry_out() does not.
 */

#include <linux/netfilter.h>
#include <linux/slab.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/tcp.h>

#include "compat.h"
#include "framing.h"
#include "stats.h"

/* Length of the longest IPv4 packet. */
#define LONGEST_PACKET 65535u

/*
 * How many bytes of a segment fit into a packet, together with the headers of the frames that begin
 * there. Under flow->lock, before the segment is committed.
 */
static u32 fitting(const struct framemap *map, const struct sk_buff *skb,
		   const struct segment *seg)
{
	u32 seq = segment_seq(skb, seg), room = LONGEST_PACKET - seg->payload, i;

	if (skb->len + (map->count + 1) * FRAMEMAP_HEADER <= LONGEST_PACKET)
		return seg->len;
	for (i = framemap_first(map, seq); i <= map->count; i++) {
		/* Behind the frames of the map are the new bytes, which will be one frame. */
		u32 start = i < map->count ? framemap_frame(map, i).seq : map->max;
		u32 offset = after(start, seq) ? start - seq : 0;

		if (offset >= seg->len)
			break;
		if (offset + FRAMEMAP_HEADER >= room)
			return min(offset, room);
		room -= FRAMEMAP_HEADER;
	}
	return min(seg->len, room);
}

/*
 * Cuts off what does not fit into a packet, before it gets into frames. Under flow->lock.
 *
 * To drop the segment would end the connection: a client with segments of 64 KB, as over lo, sends
 * the same again and again. The server's ack makes it go on behind the bytes that have arrived.
 */
static int shorten(const struct flow *flow, struct sk_buff *skb, struct segment *seg)
{
	u32 len = fitting(&flow->map, skb, seg);

	if (len == seg->len)
		return 0;
	segment_tcp(skb, seg)->fin = 0;
	return segment_trim(skb, seg, len);
}

/**
 * framing_commit() - put the new bytes of a segment into a frame
 * @flow: its flow, under flow->lock
 * @skb: the segment, which brings a byte or the FIN
 * @seg: its offsets
 *
 * What does not fit into a packet with the headers is cut off first.
 *
 * If a limit refuses the new bytes of a segment, its older bytes are still sent: a client may
 * resend lost bytes only together with new ones, and would otherwise be refused again and again.
 *
 * Return: 0, or an error number of framemap_commit().
 */
int framing_commit(struct flow *flow, struct sk_buff *skb, struct segment *seg)
{
	u32 seq = segment_seq(skb, seg);
	int error = shorten(flow, skb, seg);

	if (error)
		return error;
	error = framemap_commit(&flow->map, seq, seg->len);
	if (!error) {
		if (segment_tcp(skb, seg)->fin)
			flow->map.fin = true;
		return 0;
	}
	if (error == -ERANGE || !before(seq, flow->map.max))
		return error;
	segment_tcp(skb, seg)->fin = 0;
	return segment_trim(skb, seg, flow->map.max - seq);
}

/**
 * framing_plan() - find the frames that begin in a segment
 * @plan: result; needs framing_end()
 * @flow: its flow, under flow->lock
 * @known: end of the frames that were there before this segment was committed
 * @skb: the segment
 * @seg: its offsets
 */
int framing_plan(struct plan *plan, const struct flow *flow, u32 known, const struct sk_buff *skb,
		 const struct segment *seg)
{
	const struct framemap *map = &flow->map;
	u32 seq = segment_seq(skb, seg), end = seq + seg->len;
	u32 first = framemap_first(map, seq), i;

	*plan = (struct plan) {};
	plan->cuts = &plan->one;
	if (!seg->len && !segment_tcp(skb, seg)->fin) {
		plan->seq = framemap_bare(map, seq);
		return 0;
	}
	plan->seq = framemap_forward(map, seq);
	while (first + plan->count < map->count &&
	       before(framemap_frame(map, first + plan->count).seq, end))
		plan->count++;
	if (plan->count > 1) {
		plan->cuts = kmalloc_array(plan->count, sizeof(*plan->cuts),
					   GFP_ATOMIC | __GFP_NOWARN);
		if (!plan->cuts)
			return -ENOMEM;
	}
	for (i = 0; i < plan->count; i++) {
		struct frame frame = framemap_frame(map, first + i);

		plan->cuts[i] = (struct cut) { .offset = frame.seq - seq, .len = frame.len };
		plan->again += before(frame.seq, known);
	}
	return 0;
}

void framing_end(const struct plan *plan)
{
	if (plan->cuts != &plan->one)
		kfree(plan->cuts);
}

static void put_header(u8 *at, const struct flow *flow, u16 len)
{
	memcpy(at, flow->destination, sizeof(flow->destination));
	put_unaligned_le16(len, at + sizeof(flow->destination));
}

/* The common case is one header at the very beginning: the payload is not moved. */
static int insert_in_front(struct sk_buff *skb, struct segment *seg, const struct flow *flow,
			   const struct cut *cut)
{
	u8 *gap = segment_insert(skb, seg, FRAMEMAP_HEADER);

	if (!gap)
		return -ENOMEM;
	put_header(gap, flow, cut->len);
	return 0;
}

/* Any number of headers anywhere. From the last to the first, so that each byte is moved once. */
static int insert_anywhere(struct sk_buff *skb, const struct segment *seg,
			   const struct flow *flow, const struct plan *plan, struct net *net)
{
	u32 added = plan->count * FRAMEMAP_HEADER, end = seg->len, i;
	u8 *payload;

	if (skb_is_nonlinear(skb))
		stats_inc(net, STAT_linearized);
	if (segment_linear(skb, added))
		return -ENOMEM;
	skb_put(skb, added);
	payload = skb->data + seg->payload;
	for (i = plan->count; i--; end = plan->cuts[i].offset) {
		u32 offset = plan->cuts[i].offset;

		memmove(payload + offset + (i + 1) * FRAMEMAP_HEADER, payload + offset,
			end - offset);
		put_header(payload + offset + i * FRAMEMAP_HEADER, flow, plan->cuts[i].len);
	}
	return 0;
}

/* Marks a segment that exceeds the MTU as GSO, so that the kernel cuts it when it leaves. */
static void fit(struct sk_buff *skb, const struct segment *seg, const struct flow *flow,
		const struct nf_hook_state *state)
{
	unsigned int mtu = min_not_zero((unsigned int)READ_ONCE(flow->mtu),
					segment_mtu(skb, state));
	struct skb_shared_info *info = skb_shinfo(skb);

	if (!skb_is_gso(skb)) {
		if (skb->len <= mtu || mtu <= seg->payload)
			return;
		info->gso_size = mtu - seg->payload;
		info->gso_type = SKB_GSO_TCPV4;
		if (segment_tcp(skb, seg)->cwr)
			info->gso_type |= SKB_GSO_TCP_ECN;
		stats_inc(state->net, STAT_gso_converted);
	}
	info->gso_segs = DIV_ROUND_UP(seg->len, info->gso_size);
}

/**
 * framing_carry_out() - change a segment as planned
 * @plan: from framing_plan()
 * @skb: the segment; its headers are writable
 * @seg: its offsets, which are updated
 * @flow: its flow
 * @state: hook
 */
int framing_carry_out(const struct plan *plan, struct sk_buff *skb, struct segment *seg,
		      const struct flow *flow, const struct nf_hook_state *state)
{
	unsigned int added = plan->count * FRAMEMAP_HEADER;
	int err;

	segment_set_seq(skb, seg, plan->seq);
	if (!plan->count)
		return 0;
	if (plan->count == 1 && !plan->cuts->offset)
		err = insert_in_front(skb, seg, flow, plan->cuts);
	else
		err = insert_anywhere(skb, seg, flow, plan, state->net);
	if (err)
		return err;
	seg->len += added;
	segment_lengths(skb, seg, IPPROTO_TCP);
	fit(skb, seg, flow, state);
	stats_add(state->net, STAT_ctframe_frames, plan->count - plan->again);
	stats_add(state->net, STAT_ctframe_frames_again, plan->again);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-only */
/* `ctframe`: puts the headers of frames into a segment. */
#ifndef CTINJECT_FRAMING_H
#define CTINJECT_FRAMING_H

#include "ctinject.h"
#include "segment.h"

/**
 * struct cut - a frame that begins inside a segment
 * @offset: from the segment's first byte
 * @len: length of the frame, for its header
 */
struct cut {
	u32 offset;
	u16 len;
};

/**
 * struct plan - how a segment is changed
 * @seq: its number in server space
 * @cuts: the frames that begin in it; points to @one if there is at most one
 * @one: memory for one frame
 * @count: number of frames in @cuts
 * @again: how many of these frames were sent before
 */
struct plan {
	u32 seq;
	struct cut *cuts, one;
	u32 count, again;
};

int framing_commit(struct flow *flow, struct sk_buff *skb, struct segment *seg);
int framing_plan(struct plan *plan, const struct flow *flow, u32 known, const struct sk_buff *skb,
		 const struct segment *seg);
int framing_carry_out(const struct plan *plan, struct sk_buff *skb, struct segment *seg,
		      const struct flow *flow, const struct nf_hook_state *state);
void framing_end(const struct plan *plan);

/* Whether a segment begins inside a frame, whose header it does not bring. */
static inline bool framing_begins_inside(const struct plan *plan, const struct segment *seg)
{
	return seg->len && (!plan->count || plan->cuts->offset);
}

#endif

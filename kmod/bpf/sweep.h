/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Makes flows, and deletes them.
 *
 * Each flow has a token in a queue. A timer takes tokens from the front that were last checked a
 * sweep interval ago, checks their flows, and either puts the token at the end of the queue or
 * deletes the flow. With one timer for all flows, a new flow does not depend on the kernel being
 * able to allocate a timer for it. The timer handles at most BATCH tokens at a time.
 *
 * A flow whose token is lost would stay for ever. The token that the timer holds in its hand keeps
 * its place: a new flow must get a place in sweeper->tokens before its token goes into the queue.
 * The token of a flow that flow_delete() has removed has a place until the timer comes to it.
 */
#ifndef CTPROXY_SWEEP_H
#define CTPROXY_SWEEP_H

#include "flow.h"

#define BATCH 256
#define BATCH_PAUSE (2 * NSEC_PER_MSEC)

/**
 * struct token - a flow's place in the queue
 * @key: key of the flow
 * @made: as in the flow; a later flow with the same key has another token
 * @checked: when the flow was last checked, or made
 */
struct token {
	struct flow_key key;
	__u64 made, checked;
};

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 262144);	/* as many as flows */
	__type(value, struct token);
} tokens SEC(".maps");

/**
 * struct sweeper - the timer, and how many tokens there are
 * @timer: runs sweep_batch()
 * @tokens: places that are taken, at most as many as the queue has
 */
struct sweeper {
	struct bpf_timer timer;
	__u64 tokens;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sweeper);
} sweepers SEC(".maps");

static __always_inline struct sweeper *sweeper_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&sweepers, &zero);
}

static __always_inline __u64 sweep_interval(void)
{
	const struct settings *settings = settings_get();

	return (settings && settings->sweep ? settings->sweep : 1000) * NSEC_PER_MSEC;
}

/*
 * Whether the flow stays. Once its connection has no conntrack entry any more, it is marked as
 * ended, and stays until the next check: after a flush conntrack may pick the connection up again.
 */
static __always_inline bool flow_stays(struct flow *flow, const struct flow_key *key, __u64 now)
{
	bool waits = flow->phase <= PHASE_SYN;
	bool lives = (!waits || is_within(now, flow->born, SYN_LIFE)) &&
		     conntrack_lives(flow->ct, key);

	if (!lives && !flow->ended) {
		flow->ended = 1;
		count(COUNT_flows_closed);
		return true;
	}
	return lives || (flow->last_shown && is_within(now, flow->last_shown, COOKIE_LIFE));
}

/**
 * struct sweep - arguments of sweep_one()
 * @now: when the batch began
 * @interval: time between two checks of a flow
 * @pause: how long the timer waits after the batch
 * @gone: number of tokens that have left the queue for good
 */
struct sweep {
	__u64 now, interval, pause, gone;
};

/* Check the flow of the first token. Returns 1 when no token is due. */
static long sweep_one(__u32 i, struct sweep *sweep)
{
	struct token token;
	struct flow *flow;

	if (bpf_map_peek_elem(&tokens, &token)) {
		sweep->pause = sweep->interval;
		return 1;
	}
	if (is_within(sweep->now, token.checked, sweep->interval)) {
		sweep->pause = token.checked + sweep->interval - sweep->now;
		return 1;
	}
	bpf_map_pop_elem(&tokens, &token);
	flow = flow_find(&token.key);
	if (flow && flow->made == token.made) {
		token.checked = sweep->now;
		if (flow_stays(flow, &token.key, sweep->now)) {
			bpf_map_push_elem(&tokens, &token, 0);
			return 0;
		}
		if (!bpf_map_delete_elem(&flows, &token.key))
			count(COUNT_entries_gone);
	}
	sweep->gone++;
	return 0;
}

static int sweep_batch(void *map, __u32 *key, struct sweeper *sweeper)
{
	struct sweep sweep = {
		.now = bpf_ktime_get_boot_ns(),
		.interval = sweep_interval(),
		.pause = BATCH_PAUSE,
	};

	bpf_loop(BATCH, sweep_one, &sweep, 0);
	__sync_fetch_and_sub(&sweeper->tokens, sweep.gone);
	bpf_timer_start(&sweeper->timer, sweep.pause, 0);
	return 0;
}

/* Start the timer with the first flow. A program that replaces another one reuses its timer. */
static __always_inline void sweep_start(struct sweeper *sweeper)
{
	bool is_new;

	is_new = !bpf_timer_init(&sweeper->timer, &sweepers, CLOCK_BOOTTIME);
	bpf_timer_set_callback(&sweeper->timer, sweep_batch);
	if (is_new)
		bpf_timer_start(&sweeper->timer, BATCH_PAUSE, 0);
}

/* Put a new flow's token into the queue. Returns false when there is no place for it. */
static __always_inline bool sweep_add(struct sweeper *sweeper, const struct token *token)
{
	__u64 places = ((const struct bpf_map *)&tokens)->max_entries;

	if (__sync_fetch_and_add(&sweeper->tokens, 1) < places &&
	    !bpf_map_push_elem(&tokens, token, 0))
		return true;
	__sync_fetch_and_sub(&sweeper->tokens, 1);
	return false;
}

/* Find the connection's flow, or make a blank one. NULL when the table or the queue is full. */
static __always_inline struct flow *flow_make(const struct flow_key *key, __u64 now)
{
	struct flow *flow = flow_find(key);
	struct sweeper *sweeper;
	struct token token;

	if (flow)
		return flow;
	sweeper = sweeper_get();
	if (!sweeper)
		return 0;
	if (bpf_map_update_elem(&flows, key, blank, BPF_NOEXIST))
		return flow_find(key);	/* another CPU has made it, or the table is full */
	flow = flow_find(key);
	if (!flow)
		return 0;
	flow->made = now;
	token.key = *key;
	token.made = now;
	token.checked = now;
	if (!sweep_add(sweeper, &token)) {
		bpf_map_delete_elem(&flows, key);
		return 0;
	}
	count(COUNT_entries_made);
	sweep_start(sweeper);
	return flow;
}

#endif

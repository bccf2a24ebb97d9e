// SPDX-License-Identifier: GPL-2.0-only
/*
 * `ctproxy` for tc: one PROXY v2 header per translated TCP connection, without a kernel module.
 *
 * Two programs on the device that leads to the servers. `egress` sees the client's segments behind
 * conntrack and NAT, `ingress` the server's replies before them: so conntrack and every rule see
 * the client's numbers only.
 *
 *	client space	              X | X+1 ...            the client's bytes
 *	server space	X-H | X-H+1 ... |  X+1 ...           the same numbers
 *	                     `-- header --'
 *
 * H is the header's length, X the client's initial number, `first` is X+1. The SYN leaves as X-H,
 * which reserves H numbers. From X+1 on both spaces are equal: data is never changed and never
 * grows, the header is a segment of its own.
 *
 *	         SYN           SYN-ACK of the latest SYN      ack of the header
 *	NONE ------------> SYN -------------------------> OPEN ------------------> PROVEN
 *	                    ^                              | ^                      |  |
 *	                    +------------------------------+ +----------------------+  |
 *	                    | a SYN-ACK that does not          SYN and its SYN-ACK     |
 *	                    | belong: begin anew                                       |
 *	                    +----------------------------------------------------------+
 *
 *	to the server, in OPEN
 *	  bare ACK at X+1             becomes the header
 *	  data or FIN at X+1          the header goes first
 *	  anything beyond             passes: it waits at the server for the header
 *	  RST at X+1                  leaves as X-H+1 and as X+1: one of them is exact
 *	  keepalive probe (at X)      becomes the header
 *	  anything else below X+1     is dropped
 *	from the server, in OPEN
 *	  ack of X+1 or more          the header has arrived: PROVEN
 *	  ack below X+1               is raised to X+1, which the client has a right to. No SYN-ACK:
 *	                              the server lacks the header, a copy is turned round into it
 *	  RST without ACK             the same, a few times: see missed_cookie()
 *
 * The attacker is the client: it can send any segment at any time, and sees what the server
 * answers. What it must not get is a server socket whose first bytes are its own. The server makes
 * a socket for two reasons. It took a SYN: then what follows goes by the phases.
 *  - No flow: the SYN was not seen, so where in the stream the header belongs is unknown. A
 *    connection that is selected is dropped. Flows are never evicted, and outlive
 *    conntrack's entry.
 *  - SYN: nothing but SYN and RST passes, since nobody but the server knows which SYN it took.
 *  - OPEN: one SYN-ACK counts, acks must name what it began, and nothing of the client's passes
 *    below X+1.
 *  - PROVEN: the server has a socket, and the place of the header is taken.
 * Or it sees a SYN cookie come back, and that need not be where its SYN-ACK said. For addresses,
 * ports and a minute a cookie is a constant plus the client's number (tcp_syncookies.c): with one,
 * the client knows those of all numbers. A segment is taken for one that brings a cookie if its ack
 * is as far from it as a SYN-ACK was from its SYN, give or take the index of an MSS: that
 * difference is remembered of the SYN-ACKs that the client was shown, as long as cookies live,
 * through whatever connections these ports have meanwhile. Such a segment has its ack lowered by a
 * few bytes: at the place of the header nothing but the header passes, and elsewhere, to a server
 * that has its socket, this is an ack that comes a little late, and its data is as good as ever.
 * To one that has none, be it that it kept nothing of the SYN or has given the connection up, it
 * is a wrong cookie.
 * Behind the client's FIN nothing passes.
 * What fails is dropped and counted, never passed unmarked: a table that is full, a packet that
 * cannot be changed, a fragment of a connection that is not proven. And the server is believed only
 * where it is: a reply by another device meets no program of ours.
 */

#include "kernel.h"

#include "conntrack.h"
#include "counters.h"
#include "emit.h"
#include "flow.h"
#include "header.h"
#include "icmp.h"
#include "options.h"
#include "packet.h"
#include "settings.h"
#include "state.h"
#include "sweep.h"
#include "work.h"

char LICENSE[] SEC("license") = "GPL";

#define PASS TC_ACT_UNSPEC	/* on to whoever else looks at this device's packets */

/* The SYN is what is left: Fast Open's data is not acknowledged, the client sends it again. */
static __always_inline int send_syn(struct __sk_buff *skb, struct packet *packet,
				    struct work *work, __u32 seq)
{
	if (!packet->payload && !packet->is_fragment) {
		if (packet_set_seq(skb, packet, seq))
			return drop(COUNT_drop_build);
		return PASS;
	}
	if (segment_read(skb, packet, work))
		return drop(COUNT_drop_build);
	work->tcp.seq = bpf_htonl(seq);
	if (segment_write(skb, packet, work, 0))
		return drop(COUNT_drop_build);
	return PASS;
}

static __always_inline int our_syn(struct __sk_buff *skb, struct packet *packet,
				   const struct flow_key *key, const struct settings *settings,
				   struct work *work)
{
	const struct nf_conn *ct = conntrack_pointer(skb);
	struct syn syn = {
		.first = packet_seq(packet) + 1,
		.ct = (__u64)ct,
		.header = work->header,
	};
	struct flow *flow;
	bool opens;

	if (settings->closing)
		return drop(COUNT_drop_unloading);
	if (!settings->one_armed && skb->ingress_ifindex == skb->ifindex)
		return drop(COUNT_drop_one_armed);
	if (options_walk(skb, packet, work, REMOVE_OF_SYN))
		return drop(COUNT_drop_malformed);
	if (work->options.found & FOUND_SIGNATURE)
		return drop(COUNT_drop_signature_option);
	if (work->options.found & FOUND_REMOVED)
		count(COUNT_options_cleared);
	syn.room = header_build(work, ct, packet->version, settings);
	if (!syn.room)
		return drop(COUNT_drop_no_key);
	syn.fresh = !(BPF_CORE_READ(ct, status) & IPS_SEEN_REPLY);
	syn.established = BPF_CORE_READ(ct, proto.tcp.state) == TCP_CONNTRACK_ESTABLISHED;
	syn.now = bpf_ktime_get_boot_ns();
	flow = flow_make(key, syn.now);
	if (!flow)
		return drop(COUNT_drop_flow_limit);
	bpf_spin_lock(&flow->lock);
	opens = state_syn(flow, &syn);
	bpf_spin_unlock(&flow->lock);
	if (opens)
		count(COUNT_flows_opened);
	return send_syn(skb, packet, work, packet_seq(packet) - syn.room);
}

/* A SYN, or a packet of a connection that has no flow. */
static __always_inline int without_flow(struct __sk_buff *skb, struct packet *packet,
					const struct flow_key *key,
					const struct settings *settings, struct work *work)
{
	bool is_syn = packet_has(packet, TCP_SYN) && !packet_has(packet, TCP_ACK);

	switch (conntrack_select(skb, packet, settings)) {
	case SELECTED_UNTRACKED:
		return drop(COUNT_drop_untracked);
	case SELECTED_OURS:
		if (is_syn)
			return our_syn(skb, packet, key, settings, work);
		if (!settings->pass_existing)
			return drop(COUNT_drop_no_syn);
		count(COUNT_existing);
		return PASS;
	case SELECTED_DIRECT:
		if (is_syn)
			count(COUNT_untouched);
		break;
	default:
		break;
	}
	/* It goes where its client wanted it to go, whatever these ports were used for before. */
	if (is_syn)
		flow_delete(key);
	return PASS;
}

static __always_inline int take_step(struct __sk_buff *skb, struct packet *packet,
				     struct work *work, const struct step *step)
{
	switch (step->action) {
	case ACTION_DROP:
		return drop(step->reason);
	case ACTION_BECOME_HEADER:
		count_header(step->again);
		return become_header(skb, packet, work);
	case ACTION_HEADER_FIRST:
		count_header(step->again);
		if (send_copy(skb, work, MODE_HEADER))
			return drop(COUNT_drop_build);
		return PASS;
	case ACTION_RESET_TWICE:
		if (send_copy(skb, work, MODE_RESET))
			return drop(COUNT_drop_build);
		return PASS;
	case ACTION_SPOIL_COOKIE:
		count(COUNT_cookies_spoiled);
		if (packet_set_ack(skb, packet, step->number))
			return drop(COUNT_drop_build);
		return PASS;
	}
	return PASS;
}

static __always_inline int with_flow(struct __sk_buff *skb, struct packet *packet,
				     const struct flow_key *key, struct flow *flow,
				     struct work *work)
{
	struct step step = {};
	__u64 now, ct = 0;
	bool reopened;

	if (is_ordinary(flow, packet))
		return PASS;
	now = bpf_ktime_get_boot_ns();
	work->options.found = 0;
	/* What is known of the client's timestamps is of use only until the header has arrived. */
	if (flow->phase == PHASE_OPEN && options_timestamps(skb, packet, work))
		return drop(COUNT_drop_malformed);
	/* Conntrack has forgotten the connection, and may have picked it up again. */
	if (flow->ended)
		ct = (__u64)conntrack_pointer(skb);
	bpf_spin_lock(&flow->lock);
	reopened = ct && flow->ended;
	if (ct) {
		flow->ct = ct;
		flow->ended = 0;
	}
	state_client(flow, packet, work, now, &step);
	bpf_spin_unlock(&flow->lock);
	if (reopened)
		count(COUNT_flows_opened);
	return take_step(skb, packet, work, &step);
}

/* A packet whose ports cannot be seen: conntrack knows whose it is. */
static __always_inline int without_ports(struct __sk_buff *skb, struct packet *packet,
					 const struct settings *settings, bool is_fragment)
{
	const struct nf_conn *ct = conntrack_pointer(skb);
	struct flow_key key = {};
	struct flow *flow;

	if (!ct)
		return PASS;
	flow_key_conntrack(&key, ct);
	__builtin_memcpy(packet->destination, key.server, sizeof(key.server));
	packet->tcp.destination = key.server_port;
	packet->version = key.version;
	if (BPF_CORE_READ(ct, tuplehash[IP_CT_DIR_REPLY].tuple.dst.protonum) != IPPROTO_TCP ||
	    conntrack_select(skb, packet, settings) != SELECTED_OURS)
		return PASS;
	if (!is_fragment)
		return drop(COUNT_drop_malformed);
	flow = flow_find(&key);
	if (flow ? flow->phase == PHASE_PROVEN : settings->pass_existing)
		return PASS;
	return drop(COUNT_drop_fragment);
}

SEC("tc")
int ctwsgi_egress(struct __sk_buff *skb)
{
	const struct settings *settings = settings_get();
	struct work *work = work_get();
	struct flow_key key;
	struct packet packet;
	struct flow *flow;
	enum parsed parsed;
	__u32 mode;

	if (!settings || !work)
		return TC_ACT_SHOT;
	parsed = packet_parse(skb, &packet, settings->link_header);
	mode = work->mode;
	if (mode) {
		work->mode = MODE_NONE;
		if (parsed != PARSED_TCP)
			return drop(COUNT_drop_build);
		return finish_copy(skb, &packet, work, mode);
	}
	switch (parsed) {
	case PARSED_TCP:
		break;
	case PARSED_LATER_FRAGMENT:
	case PARSED_OPAQUE:
		return without_ports(skb, &packet, settings, parsed == PARSED_LATER_FRAGMENT);
	default:
		return PASS;
	}
	flow_key_forward(&key, &packet);
	flow = flow_find(&key);
	if (flow && !(packet_has(&packet, TCP_SYN) && !packet_has(&packet, TCP_ACK)))
		return with_flow(skb, &packet, &key, flow, work);
	return without_flow(skb, &packet, &key, settings, work);
}

static __always_inline int raise(struct __sk_buff *skb, struct packet *packet, struct work *work,
				 const struct step *step)
{
	if (options_walk(skb, packet, work, REMOVE_SACK) ||
	    packet_set_ack(skb, packet, step->number))
		return drop(COUNT_drop_build);
	return PASS;
}

/* The header takes room in the first window, which the client must not fill. */
static __always_inline int raise_synack(struct __sk_buff *skb, struct packet *packet,
					const struct step *step)
{
	__u16 window = bpf_ntohs(packet->tcp.window);

	if (window > step->room && packet_set_window(skb, packet, window - step->room))
		return drop(COUNT_drop_build);
	if (packet_set_ack(skb, packet, step->number))
		return drop(COUNT_drop_build);
	return PASS;
}

SEC("tc")
int ctwsgi_ingress(struct __sk_buff *skb)
{
	const struct settings *settings = settings_get();
	struct work *work = work_get();
	struct step step = {};
	struct packet packet;
	struct flow_key key;
	struct flow *flow;
	enum parsed parsed;
	__u64 now;

	if (!settings || !work)
		return PASS;
	parsed = packet_parse(skb, &packet, settings->link_header);
	if (parsed == PARSED_ICMP)
		return icmp_correct(skb, &packet);
	if (parsed != PARSED_TCP)
		return PASS;
	flow_key_reverse(&key, &packet);
	flow = flow_find(&key);
	/* A proven connection is the client's and the server's business, until one begins anew. */
	if (!flow || (flow->phase == PHASE_PROVEN && !packet_has(&packet, TCP_SYN | TCP_RST)))
		return PASS;
	now = bpf_ktime_get_boot_ns();
	bpf_spin_lock(&flow->lock);
	state_server(flow, &packet, &work->order, now, &step);
	bpf_spin_unlock(&flow->lock);
	if (step.answer) {
		count_header(step.again);
		if (send_copy(skb, work, MODE_ANSWER))
			count(COUNT_drop_build);
	}
	switch (step.action) {
	case ACTION_DROP:
		return drop(step.reason);
	case ACTION_SWALLOW:
		return drop(COUNT_swallowed);
	case ACTION_RAISE:
		return raise(skb, &packet, work, &step);
	case ACTION_RAISE_SYNACK:
		return raise_synack(skb, &packet, &step);
	}
	return PASS;
}

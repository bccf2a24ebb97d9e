// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sends one PROXY v2 header per translated TCP connection, from tc instead of a kernel module. For
 * UDP see datagram.h.
 *
 * Two programs run on the device that leads to the servers. `egress` gets the client's segments
 * after conntrack and NAT, `ingress` the server's replies before them. So conntrack and all packet
 * filter rules see the client's sequence numbers only.
 *
 *	client's side	              X | X+1 ...            the client's bytes
 *	server's side	X-H | X-H+1 ... |  X+1 ...           the same numbers
 *	                     `-- header --'
 *
 * H is the length of the header, X the client's initial number, and `first` is X+1. The program
 * changes the SYN's number to X-H, which reserves H numbers. From X+1 on the numbers are equal on
 * both sides. Segments with data are never changed: the header is a segment of its own.
 *
 *	         SYN           SYN-ACK of the latest SYN      ack of the header
 *	NONE ------------> SYN -------------------------> OPEN ------------------> PROVEN
 *	                    ^                              | ^                      |  |
 *	                    +------------------------------+ +----------------------+  |
 *	                    | an unexpected SYN-ACK            SYN and its SYN-ACK     |
 *	                    |                                                          |
 *	                    +----------------------------------------------------------+
 *
 *	to the server, in OPEN
 *	  bare ACK at X+1             becomes the header
 *	  data or FIN at X+1          passes if the header was sent and this is new; else the header
 *	                              is sent before it: the client repeats what the server may lack
 *	  anything after X+1          passes if the header was sent, and the server queues it; else
 *	                              the header is sent before it
 *	  RST at X+1                  is sent twice, with X-H+1 and X+1: the server expects one
 *	  keepalive probe (at X)      becomes the header
 *	  anything else below X+1     is dropped
 *	from the server, in OPEN
 *	  ack of X+1 or more          the server has the header: PROVEN
 *	  ack below X+1               is raised to X+1, as the client expects. Unless it is a
 *	                              SYN-ACK, it is answered with the header
 *	  RST without ACK             is answered with the header, twice: see missed_cookie()
 *
 * The attacker is a client that can send any segment at any time, and sees the server's answers. It
 * must not get a server socket whose first bytes are its own. The server makes a socket for one of
 * two reasons.
 *
 * 1. It has accepted a SYN. Then the phase decides what passes:
 *  - No flow: the program has not seen the SYN and does not know the header's number. Packets of
 *    selected connections are dropped. Flows are never evicted, and stay when conntrack's entry is
 *    deleted.
 *  - SYN: only SYN and RST pass, since only the server knows which SYN it has accepted.
 *  - OPEN: one SYN-ACK is accepted, acks must be for data after it, and no segment of the client's
 *    passes with a number below X+1.
 *  - PROVEN: the server has a socket and has received the header.
 *
 * 2. It receives a valid SYN cookie. For given addresses, ports and minute a cookie is a constant
 * plus the client's number (tcp_syncookies.c), so a client that has seen one cookie can compute the
 * cookies of all numbers, and the server accepts a cookie at any of them. The constant is the
 * distance between SYN-ACK and SYN, up to the index of the MSS (0 to 3). The flow remembers the
 * distances of the SYN-ACKs that the client has seen until their cookies expire, also across
 * several connections with these ports. If the ack of a segment has one of these distances from its
 * number, the ack is lowered by a few bytes. For a server that has a socket, this is an ack that
 * comes a little late. For one that has none, it is a wrong cookie.
 *
 * After the client's FIN no data passes.
 *
 * If something fails, the packet is dropped and counted, never passed without a header: the table
 * is full, a packet cannot be changed, or it is a fragment of a connection that is not proven.
 * Replies that arrive by another device change no flow, since no program of ours runs there.
 */

#include "kernel.h"

#include "client.h"
#include "conntrack.h"
#include "counters.h"
#include "datagram.h"
#include "emit.h"
#include "flow.h"
#include "header.h"
#include "icmp.h"
#include "options.h"
#include "packet.h"
#include "settings.h"
#include "server.h"
#include "sweep.h"
#include "work.h"

char LICENSE[] SEC("license") = "GPL";

#define PASS TC_ACT_UNSPEC	/* on to the next filter of the device */

/* Send the SYN without Fast Open's data: it is not acknowledged, and the client sends it again. */
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

/* A SYN of a connection that gets a header. */
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
	syn.header_len = header_build(work, ct, packet->version, TRANSPORT_STREAM, settings);
	if (!syn.header_len)
		return drop(COUNT_drop_no_key);
	syn.fresh = !(BPF_CORE_READ(ct, status) & IPS_SEEN_REPLY);
	syn.established = BPF_CORE_READ(ct, proto.tcp.state) == TCP_CONNTRACK_ESTABLISHED;
	syn.now = bpf_ktime_get_boot_ns();
	flow = flow_make(key, syn.now);
	if (!flow)
		return drop(COUNT_drop_flow_limit);
	bpf_spin_lock(&flow->lock);
	opens = client_syn(flow, &syn);
	bpf_spin_unlock(&flow->lock);
	if (opens)
		count(COUNT_flows_opened);
	return send_syn(skb, packet, work, packet_seq(packet) - syn.header_len);
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
	/* A new connection without a header: an older flow with these ports is over. */
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

/*
 * Whether the header that is still to be sent tells of the addresses and ports in @work->header.
 *
 * NAT gives a client the source that another one had, once that one's conntrack entry is gone. It
 * must not get the other one's header. An RST takes no header along, and those that a detach sends
 * have no conntrack entry.
 */
static __always_inline bool header_tells(const struct flow *flow, const struct packet *packet,
					 const struct work *work)
{
	const __u32 *told = (const __u32 *)(flow->header + HEADER_ADDRESSES);
	const __u32 *own = (const __u32 *)(work->header + HEADER_ADDRESSES);
	__u32 differ = 0;
	int i;

	if (flow->phase != PHASE_OPEN || packet_has(packet, TCP_RST))
		return true;
	for (i = 0; i < (HEADER_IPV4 - HEADER_ADDRESSES) / 4; i++)
		differ |= told[i] ^ own[i];
	if (packet->version == 6)
		for (i = 0; i < (HEADER_IPV6 - HEADER_ADDRESSES) / 4; i++)
			differ |= told[i] ^ own[i];
	return !differ;
}

static __always_inline int with_flow(struct __sk_buff *skb, struct packet *packet,
				     const struct flow_key *key, struct flow *flow,
				     struct work *work)
{
	const struct nf_conn *tracked;
	struct step step = {};
	__u64 now, ct = 0;
	bool reopened;

	if (is_ordinary(flow, packet))
		return PASS;
	tracked = conntrack_pointer(skb);
	if (flow->phase != PHASE_PROVEN)
		header_addresses(work, tracked, packet->version);
	now = bpf_ktime_get_boot_ns();
	work->options.found = 0;
	/* The client's timestamps are needed only while the header may have to be sent again. */
	if (flow->phase == PHASE_OPEN && options_timestamps(skb, packet, work))
		return drop(COUNT_drop_malformed);
	/* The sweep found no conntrack entry. Conntrack may have made a new one since. */
	if (flow->ended)
		ct = (__u64)tracked;
	bpf_spin_lock(&flow->lock);
	if (!header_tells(flow, packet, work)) {
		bpf_spin_unlock(&flow->lock);
		return drop(COUNT_drop_no_syn);
	}
	reopened = ct && flow->ended;
	if (ct) {
		flow->ct = ct;
		flow->ended = 0;
	}
	client_segment(flow, packet, work, now, &step);
	bpf_spin_unlock(&flow->lock);
	if (reopened)
		count(COUNT_flows_opened);
	return take_step(skb, packet, work, &step);
}

/* A packet without ports: its conntrack entry tells the connection. */
static __always_inline int without_ports(struct __sk_buff *skb, struct packet *packet,
					 const struct settings *settings, bool is_fragment)
{
	const struct nf_conn *ct = conntrack_pointer(skb);
	struct flow_key key = {};
	struct flow *flow;
	__u8 protocol;

	if (!ct)
		return PASS;
	flow_key_conntrack(&key, ct);
	__builtin_memcpy(packet->destination, key.server, sizeof(key.server));
	packet->tcp.destination = key.server_port;
	packet->version = key.version;
	protocol = BPF_CORE_READ(ct, tuplehash[IP_CT_DIR_REPLY].tuple.dst.protonum);
	if (protocol == IPPROTO_UDP)
		return datagram_without_ports(skb, packet, settings, is_fragment);
	if (protocol != IPPROTO_TCP ||
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
	case PARSED_UDP:
		return datagram_forward(skb, &packet, settings, work);
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

/* The header takes up a part of the first window: the client gets the rest. */
static __always_inline int raise_synack(struct __sk_buff *skb, struct packet *packet,
					const struct step *step)
{
	__u16 window = bpf_ntohs(packet->tcp.window);

	if (window > step->window_cut && packet_set_window(skb, packet, window - step->window_cut))
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
	flow_key_tracked(&key, skb);
	flow = flow_find(&key);
	/* Replies of a proven connection pass unchanged, but a SYN-ACK may begin a new one. */
	if (!flow || (flow->phase == PHASE_PROVEN && !packet_has(&packet, TCP_SYN | TCP_RST)))
		return PASS;
	now = bpf_ktime_get_boot_ns();
	bpf_spin_lock(&flow->lock);
	server_segment(flow, &packet, &work->order, now, &step);
	bpf_spin_unlock(&flow->lock);
	if (step.answer) {
		count_header(step.again);
		work->order.ends = key;
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

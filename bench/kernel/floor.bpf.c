// SPDX-License-Identifier: GPL-2.0-only
/*
 * A lower bound for the cost of an eBPF injector. Only for measuring.
 *
 * `nothing` passes every packet. `bare` sends the header with the injector's own code
 * (kmod/bpf/emit.h), and does nothing else: it keeps connections in an array by the client's port,
 * checks no packet, never sends a header again, reads neither conntrack nor settings, and writes the
 * same addresses into all headers.
 */
#include "../../kmod/bpf/kernel.h"

#include "../../kmod/bpf/emit.h"

char LICENSE[] SEC("license") = "GPL";

#define PASS TC_ACT_UNSPEC

#define HEADER_LEN 28
#define CLIENT bpf_htonl(0x0a3e0102)	/* 10.62.1.2 */
#define DIALLED bpf_htonl(0xc6120000)	/* 198.18.0.x; port 8080 is x = 1, and so on */

struct start {
	__u32 first;
	__u32 proven;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct start);
} starts SEC(".maps");

SEC("tc")
int nothing_egress(struct __sk_buff *skb)
{
	return PASS;
}

SEC("tc")
int nothing_ingress(struct __sk_buff *skb)
{
	return PASS;
}

static __always_inline __be32 dialled(__be16 port)
{
	if (port == bpf_htons(8080))
		return DIALLED | bpf_htonl(1);
	return DIALLED | (port == bpf_htons(8081) ? bpf_htonl(2) : bpf_htonl(4));
}

static __always_inline void write_header(struct order *order, const struct packet *packet)
{
	__be32 *words = (__be32 *)order->header;

	words[0] = bpf_htonl(0x0d0a0d0a);
	words[1] = bpf_htonl(0x000d0a51);
	words[2] = bpf_htonl(0x5549540a);
	words[3] = bpf_htonl(0x2111000c);
	words[4] = CLIENT;
	words[5] = dialled(packet->tcp.destination);
	words[6] = packet->tcp.source | (__u32)bpf_htons(80) << 16;
}

SEC("tc")
int bare_egress(struct __sk_buff *skb)
{
	struct packet packet;
	struct start *start;
	struct work *work = work_get();
	__u32 port;

	if (!work || packet_parse(skb, &packet, ETH_HLEN) != PARSED_TCP)
		return PASS;
	port = bpf_ntohs(packet.tcp.source);
	start = bpf_map_lookup_elem(&starts, &port);
	if (!start)
		return PASS;
	if (packet_has(&packet, TCP_SYN)) {
		start->first = packet_seq(&packet) + 1;
		start->proven = 0;
		packet_set_seq(skb, &packet, packet_seq(&packet) - HEADER_LEN);
		return PASS;
	}
	if (start->proven || packet.payload || packet_seq(&packet) != start->first)
		return PASS;
	write_header(&work->order, &packet);
	work->order.header_len = HEADER_LEN;
	work->order.seq = start->first - HEADER_LEN;
	return become_header(skb, &packet, work);
}

SEC("tc")
int bare_ingress(struct __sk_buff *skb)
{
	struct packet packet;
	struct start *start;
	__u32 port;

	if (packet_parse(skb, &packet, ETH_HLEN) != PARSED_TCP)
		return PASS;
	port = bpf_ntohs(packet.tcp.destination);
	start = bpf_map_lookup_elem(&starts, &port);
	if (!start || start->proven)
		return PASS;
	if (packet_has(&packet, TCP_SYN)) {
		packet_set_ack(skb, &packet, start->first);
		return PASS;
	}
	start->proven = 1;
	return TC_ACT_SHOT;
}

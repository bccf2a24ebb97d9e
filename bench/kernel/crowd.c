// SPDX-License-Identifier: MIT
/*
 * Makes many connections through the gateway, by raw packets instead of sockets.
 *
 *	crowd flows CLIENT_NS SERVER_NS COUNT	completes handshakes from both ends; the
 *						connections stay open
 *	crowd flood COUNT RATE			sends SYNs only, RATE per second, from the current
 *						namespace
 *
 * No host has the sources in 10.62.64.0/24, nor FLOWS_SERVER, to which the gateway translates
 * FLOWS_TO: no kernel answers a packet. The gateway has a route for the sources to the client's end
 * and one for FLOWS_SERVER to the server's end. Prints one JSON object: {"sent": SYNs, "opened":
 * connections, "headers": connections that began with data}.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "wire.h"

#define SOURCES 0x0a3e4000u	/* 10.62.64.0 */
#define FLOWS_TO 0xc6120003u	/* 198.18.0.3 */
#define FLOWS_SERVER 0x0a3e0203u /* 10.62.2.3 */
#define PORT 80

#define FIRST_PORT 10000
#define PORTS 50000
#define CLIENT_ISN 1000000
#define SERVER_ISN 2000000

#define WINDOW 32		/* handshakes at a time */
#define PATIENCE 10000		/* milliseconds without a packet */
#define RECEIVE_BUFFER (8 << 20)

struct segment {
	struct iphdr ip;
	struct tcphdr tcp;
} __attribute__((packed));

struct end {
	int raw, packets;
};

static unsigned long sent, opened, headers;

static uint32_t add(uint32_t sum, const void *bytes, size_t size)
{
	const uint16_t *words = bytes;

	for (size_t i = 0; i < size / 2; i++)
		sum += words[i];
	return sum;
}

static uint16_t checksum(const struct segment *segment)
{
	uint32_t sum = add(htons(IPPROTO_TCP) + htons(sizeof(segment->tcp)), &segment->ip.saddr, 8);

	sum = add(sum, &segment->tcp, sizeof(segment->tcp));
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

/* Write a segment without data. Addresses, ports and numbers are in network byte order. */
static void transmit(int raw, uint32_t from, uint32_t to, uint16_t source, uint16_t destination,
		     uint32_t seq, uint32_t ack, bool syn)
{
	struct segment segment = {
		.ip = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP,
			.saddr = from, .daddr = to },
		.tcp = { .source = source, .dest = destination, .seq = seq, .ack_seq = ack,
			 .doff = 5, .syn = syn, .ack = !!ack, .window = htons(65535) },
	};
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = to };

	segment.tcp.check = checksum(&segment);
	if (sendto(raw, &segment, sizeof(segment), 0, (struct sockaddr *)&address,
		   sizeof(address)) != sizeof(segment) && errno != ENOBUFS && errno != EPERM)
		die("sendto");
}

static void send_syn(int raw, unsigned long number)
{
	uint32_t from = htonl(SOURCES + 1 + number / PORTS);

	transmit(raw, from, htonl(FLOWS_TO), htons(FIRST_PORT + number % PORTS), htons(PORT),
		 htonl(CLIENT_ISN), 0, true);
	sent++;
}

static int raw_socket(void)
{
	int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);

	if (fd < 0)
		die("socket");
	return fd;
}

/* Open the sockets in another namespace. */
static struct end open_end(const char *path)
{
	int space = open(path, O_RDONLY), size = RECEIVE_BUFFER;
	struct end end;

	if (space < 0 || setns(space, CLONE_NEWNET))
		die(path);
	close(space);
	end.raw = raw_socket();
	end.packets = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK, htons(ETH_P_IP));
	if (end.packets < 0 ||
	    setsockopt(end.packets, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		die("packet socket");
	return end;
}

/* Read the next TCP segment. Returns the length of its data, or a negative number without one. */
static int receive(int packets, struct segment *segment)
{
	struct sockaddr_ll from;
	socklen_t size = sizeof(from);
	ssize_t got;

	while ((got = recvfrom(packets, segment, sizeof(*segment), 0, (struct sockaddr *)&from,
			       &size)) >= 0) {
		if (from.sll_pkttype == PACKET_OUTGOING || got != sizeof(*segment) ||
		    segment->ip.protocol != IPPROTO_TCP)
			continue;
		return ntohs(segment->ip.tot_len) - sizeof(segment->ip) - segment->tcp.doff * 4;
	}
	if (errno != EAGAIN)
		die("recvfrom");
	return -1;
}

/* Answer a segment in the name of its destination. */
static void answer(int raw, const struct segment *to, uint32_t seq, uint32_t ack, bool syn)
{
	transmit(raw, to->ip.daddr, to->ip.saddr, to->tcp.dest, to->tcp.source, htonl(seq),
		 htonl(ack), syn);
}

static void serve(const struct end *server)
{
	struct segment segment;
	int data;

	while ((data = receive(server->packets, &segment)) >= 0) {
		uint32_t seq = ntohl(segment.tcp.seq);

		if (ntohl(segment.ip.daddr) != FLOWS_SERVER)
			continue;
		if (segment.tcp.syn) {
			answer(server->raw, &segment, SERVER_ISN, seq + 1, true);
			continue;
		}
		opened++;
		if (!data)
			continue;
		headers++;
		answer(server->raw, &segment, SERVER_ISN + 1, seq + data, false);
	}
}

static void acknowledge(const struct end *client)
{
	struct segment segment;

	while (receive(client->packets, &segment) >= 0)
		if ((ntohl(segment.ip.daddr) & ~0xffu) == SOURCES && segment.tcp.syn)
			answer(client->raw, &segment, CLIENT_ISN + 1, SERVER_ISN + 1, false);
}

static void run_flows(const char *client_space, const char *server_space, unsigned long count)
{
	struct end client = open_end(client_space), server = open_end(server_space);
	struct pollfd polled[] = {
		{ .fd = client.packets, .events = POLLIN },
		{ .fd = server.packets, .events = POLLIN },
	};

	while (opened < count) {
		while (sent < count && sent - opened < WINDOW)
			send_syn(client.raw, sent);
		if (poll(polled, 2, PATIENCE) <= 0)
			break;
		serve(&server);
		acknowledge(&client);
	}
}

/* In batches, so that the rate is right even if a sleep takes longer. */
static void run_flood(unsigned long count, unsigned long rate)
{
	struct timespec next;
	int raw = raw_socket();

	clock_gettime(CLOCK_MONOTONIC, &next);
	while (sent < count) {
		for (unsigned long i = 0; i < (rate + 999) / 1000 && sent < count; i++)
			send_syn(raw, sent);
		next.tv_nsec += 1000000;
		if (next.tv_nsec >= 1000000000) {
			next.tv_nsec -= 1000000000;
			next.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "flows"))
		run_flows(argv[2], argv[3], strtoul(argv[4], NULL, 10));
	else if (argc == 4 && !strcmp(argv[1], "flood"))
		run_flood(strtoul(argv[2], NULL, 10), strtoul(argv[3], NULL, 10));
	else
		return 2;
	printf("{\"sent\": %lu, \"opened\": %lu, \"headers\": %lu}\n", sent, opened, headers);
	return 0;
}

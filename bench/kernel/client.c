// SPDX-License-Identifier: MIT
/*
 * The clients of `make bench-kernel`, in one thread.
 *
 *	client connect HOST PORT COUNT PARALLEL WARMUP [HEADER]
 *							connections: a request, an answer, the end;
 *							HEADER, in hex, goes before each request
 *	client http HOST PORT COUNT PARALLEL WARMUP [HEADER]
 *							the same with a request of HTTP
 *	client upload HOST PORT MEGABYTES [STREAMS]	sends MEGABYTES over all connections
 *							together
 *	client loop MILLIONS				a loop of MILLIONS million instructions
 *
 * Prints one JSON object:
 *
 *	time		nanoseconds
 *	ticks		of the time stamp counter
 *	idle		nanoseconds in which the processor had nothing to do
 *	sent		connections, for `upload` bytes
 *	received	bytes
 *	last		end of the last answer, in hex
 *	median, p99	ticks that a connection took: median and 99th percentile
 *
 * Under QEMU's -icount a tick is an instruction, of client, kernel, gateway or server: they share
 * one processor.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "wire.h"

#define EVENTS 64
#define DESCRIPTORS 1024
#define LAST_SIZE 512
#define CHUNK (1 << 20)
#define MEGABYTE 1000000UL
#define STREAMS_MAX 16

struct stopwatch {
	uint64_t ticks, idle, time;
};

static struct sockaddr_in server;
static char request[REQUEST_SIZE];
static size_t request_size;
static unsigned char last[LAST_SIZE];
static size_t last_size;
static unsigned char header[HEADER_MAX];
static size_t header_size;
static uint64_t began[DESCRIPTORS];	/* ticks, by descriptor */
static uint64_t *took, median, p99;

/* Nanoseconds since boot in which the processor had nothing to do. */
static uint64_t idle_time(void)
{
	FILE *file = fopen("/proc/timer_list", "r");
	unsigned long long found = 0;
	char line[256];

	if (!file)
		die("/proc/timer_list");
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, " .idle_sleeptime : %llu", &found) == 1)
			break;
	fclose(file);
	return found;
}

/* Mark where a profile begins or ends, for profile.c. Without the plugin it does nothing. */
static void mark(void)
{
	asm volatile("xchg %bx, %bx");
}

static uint64_t nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static struct stopwatch start(void)
{
	uint64_t idle = idle_time(), time = nanoseconds();

	mark();
	return (struct stopwatch) { .idle = idle, .time = time, .ticks = __rdtsc() };
}

static void print(struct stopwatch since, unsigned long sent, unsigned long received)
{
	uint64_t ticks = __rdtsc() - since.ticks;

	mark();
	printf("{\"time\": %lu, ", nanoseconds() - since.time);
	printf("\"ticks\": %lu, \"idle\": %lu, \"sent\": %lu, \"received\": %lu, ", ticks,
	       idle_time() - since.idle, sent, received);
	printf("\"median\": %lu, \"p99\": %lu, \"last\": \"", median, p99);
	for (size_t i = 0; i < last_size; i++)
		printf("%02x", last[i]);
	puts("\"}");
}

static void open_connection(int epoll)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct epoll_event event = { .events = EPOLLOUT, .data.fd = fd };

	if (fd < 0 || fd >= DESCRIPTORS)
		die("socket");
	began[fd] = __rdtsc();
	if (connect(fd, (struct sockaddr *)&server, sizeof(server)) && errno != EINPROGRESS)
		die("connect");
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
		die("epoll_ctl");
}

static void ask(int epoll, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	if (header_size && send(fd, header, header_size, MSG_NOSIGNAL) != (ssize_t)header_size)
		die("send");
	if (send(fd, request, request_size, MSG_NOSIGNAL) != (ssize_t)request_size)
		die("send");
	if (epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event))
		die("epoll_ctl");
}

/* Whether the connection has ended. */
static bool take(int fd, unsigned long *received)
{
	char bytes[4096];
	ssize_t size = read(fd, bytes, sizeof(bytes));

	if (size < 0 && errno != EAGAIN)
		die("read");
	if (size > 0) {
		*received += size;
		last_size = size < LAST_SIZE ? size : LAST_SIZE;
		memcpy(last, bytes + size - last_size, last_size);
	}
	if (size)
		return false;
	close(fd);
	return true;
}

/* `count` connections, `parallel` at a time. */
static unsigned long connections(int epoll, long count, long parallel)
{
	struct epoll_event events[EVENTS];
	unsigned long received = 0;
	long opened = 0, ended = 0;

	while (ended < count) {
		while (opened < count && opened - ended < parallel) {
			open_connection(epoll);
			opened++;
		}
		int ready = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < ready; i++) {
			int fd = events[i].data.fd;

			if (events[i].events & EPOLLOUT)
				ask(epoll, fd);
			else if (take(fd, &received))
				took[ended++] = __rdtsc() - began[fd];
		}
	}
	return received;
}

static void read_header(const char *hex)
{
	while (header_size < sizeof(header) && sscanf(hex, "%2hhx", header + header_size) == 1) {
		header_size++;
		hex += 2;
	}
}

static int compare(const void *a, const void *b)
{
	uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;

	return one < other ? -1 : one > other;
}

static void run_connect(long count, long parallel, long warm_up)
{
	int epoll = epoll_create1(0);
	struct stopwatch watch;
	unsigned long received;

	took = calloc(count > warm_up ? count : warm_up, sizeof(*took));
	if (!took)
		die("calloc");
	connections(epoll, warm_up, parallel);
	watch = start();
	received = connections(epoll, count, parallel);
	watch.ticks = __rdtsc() - watch.ticks;
	qsort(took, count, sizeof(*took), compare);
	median = took[count / 2];
	p99 = took[count * 99 / 100];
	watch.ticks = __rdtsc() - watch.ticks;
	print(watch, count, received);
}

static void write_request(bool http)
{
	if (http) {
		request_size = strlen(HTTP_REQUEST);
		memcpy(request, HTTP_REQUEST, request_size);
		return;
	}
	request_size = sizeof(request);
	memset(request, 'r', sizeof(request));
	memcpy(request + sizeof(request) - strlen(REQUEST_END), REQUEST_END, strlen(REQUEST_END));
}

/* Send as much as fits into the socket's buffer. Returns whether all is sent. */
static bool send_some(int fd, unsigned long *left)
{
	static char chunk[CHUNK];
	ssize_t size;

	while (*left) {
		size = send(fd, chunk, *left < CHUNK ? *left : CHUNK, MSG_NOSIGNAL);
		if (size < 0 && errno == EAGAIN)
			return false;
		if (size < 0)
			die("send");
		*left -= size;
	}
	shutdown(fd, SHUT_WR);
	return true;
}

/* Read the number of bytes that the server says it has received. */
static unsigned long read_total(int fd)
{
	char answer[32] = "";
	size_t got = 0;
	ssize_t size;

	while ((size = read(fd, answer + got, sizeof(answer) - 1 - got)) > 0)
		got += size;
	if (size < 0)
		die("read");
	return strtoul(answer, NULL, 10);
}

static void run_upload(unsigned long megabytes, int streams)
{
	unsigned long left[STREAMS_MAX], received = 0;
	struct pollfd polled[STREAMS_MAX];
	struct stopwatch watch = start();
	int sending = streams;

	for (int i = 0; i < streams; i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		if (fd < 0 || connect(fd, (struct sockaddr *)&server, sizeof(server)) ||
		    fcntl(fd, F_SETFL, streams > 1 ? O_NONBLOCK : 0))
			die("connect");
		polled[i] = (struct pollfd) { .fd = fd, .events = POLLOUT };
		left[i] = megabytes * MEGABYTE / streams;
	}
	while (sending) {
		if (streams > 1 && poll(polled, streams, -1) < 0)
			die("poll");
		for (int i = 0; i < streams; i++) {
			if (!left[i] || (streams > 1 && !polled[i].revents) ||
			    !send_some(polled[i].fd, &left[i]))
				continue;
			polled[i].events = 0;
			sending--;
		}
	}
	for (int i = 0; i < streams; i++) {
		fcntl(polled[i].fd, F_SETFL, 0);
		received += read_total(polled[i].fd);
	}
	print(watch, megabytes * MEGABYTE, received);
}

static void run_loop(unsigned long millions)
{
	unsigned long rounds = millions * 1000000 / 2;
	struct stopwatch watch = start();

	asm volatile("1: dec %0; jnz 1b" : "+r"(rounds));
	print(watch, millions * 1000000, 0);
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "";

	if (!strcmp(what, "loop")) {
		run_loop(strtoul(argv[2], NULL, 10));
		return 0;
	}
	if (argc < 5)
		return 2;
	server = (struct sockaddr_in) { .sin_family = AF_INET, .sin_port = htons(atoi(argv[3])) };
	if (inet_pton(AF_INET, argv[2], &server.sin_addr) != 1)
		return 2;
	if (!strcmp(what, "upload")) {
		run_upload(strtoul(argv[4], NULL, 10), argc == 6 ? atoi(argv[5]) : 1);
	} else if ((!strcmp(what, "connect") || !strcmp(what, "http")) && (argc == 7 || argc == 8)) {
		write_request(!strcmp(what, "http"));
		if (argc == 8)
			read_header(argv[7]);
		run_connect(atol(argv[4]), atol(argv[5]), atol(argv[6]));
	} else {
		return 2;
	}
	return 0;
}

// SPDX-License-Identifier: MIT
/*
 * The server of `make bench-kernel`: one thread that does as little as possible.
 *
 * It takes headers and frames for payload, and counts their bytes. The report on REPORT_PORT is one
 * JSON object about the connections that have ended since the last report:
 * {"connections": N, "bytes": N, "head": first bytes of the latest connection, in hex}.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire.h"

#define HEAD_SIZE 96
#define BACKLOG 1024
#define EVENTS 64

enum kind { REQUESTS, SINK, REPORT, KINDS };

struct connection {
	int fd;
	enum kind kind;
	bool listens;
	size_t bytes;
	size_t head_size;
	unsigned char head[HEAD_SIZE];
};

static struct {
	unsigned long connections, bytes;
	size_t head_size;
	unsigned char head[HEAD_SIZE];
} report;

static int epoll;
static char input[1 << 18];
static char answer[ANSWER_SIZE];

static void watch(int fd, enum kind kind, bool listens)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = connection };

	if (!connection)
		die("calloc");
	connection->fd = fd;
	connection->kind = kind;
	connection->listens = listens;
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
		die("epoll_ctl");
}

static void listen_on(int port, enum kind kind)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, BACKLOG))
		die("listen");
	watch(fd, kind, true);
}

/* The buffer of a new socket is larger than any answer, so one write sends it. */
static void say(int fd, const char *text, size_t size)
{
	if (send(fd, text, size, MSG_NOSIGNAL) != (ssize_t)size)
		perror("send");
}

static void end(struct connection *connection)
{
	report.connections++;
	report.bytes += connection->bytes;
	report.head_size = connection->head_size;
	memcpy(report.head, connection->head, connection->head_size);
	close(connection->fd);
	free(connection);
}

static void tell(int fd)
{
	char text[128 + 2 * HEAD_SIZE];
	int size = sprintf(text, "{\"connections\": %lu, \"bytes\": %lu, \"head\": \"",
			   report.connections, report.bytes);

	for (size_t i = 0; i < report.head_size; i++)
		size += sprintf(text + size, "%02x", report.head[i]);
	size += sprintf(text + size, "\"}\n");
	say(fd, text, size);
	close(fd);
	memset(&report, 0, sizeof(report));
}

static void accept_all(const struct connection *listener)
{
	int fd;

	while ((fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		if (listener->kind == REPORT)
			tell(fd);
		else
			watch(fd, listener->kind, false);
	}
}

static bool is_request(const char *bytes, size_t size)
{
	const size_t end = sizeof(REQUEST_END) - 1;

	return size >= end && !memcmp(bytes + size - end, REQUEST_END, end);
}

static void keep_head(struct connection *connection, size_t size)
{
	size_t left = HEAD_SIZE - connection->head_size;

	if (size > left)
		size = left;
	memcpy(connection->head + connection->head_size, input, size);
	connection->head_size += size;
}

static void read_some(struct connection *connection)
{
	ssize_t size = read(connection->fd, input, sizeof(input));
	char total[32];

	if (size < 0) {
		if (errno != EAGAIN)
			end(connection);
		return;
	}
	connection->bytes += size;
	keep_head(connection, size);
	if (connection->kind == REQUESTS && is_request(input, size)) {
		say(connection->fd, answer, sizeof(answer));
		end(connection);
	} else if (!size) {
		if (connection->kind == SINK)
			say(connection->fd, total, sprintf(total, "%zu", connection->bytes));
		end(connection);
	}
}

int main(void)
{
	struct epoll_event events[EVENTS];

	memset(answer, 'a', sizeof(answer));
	epoll = epoll_create1(0);
	if (epoll < 0)
		die("epoll");
	listen_on(REQUEST_PORT, REQUESTS);
	listen_on(SINK_PORT, SINK);
	listen_on(REPORT_PORT, REPORT);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int count = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < count; i++) {
			struct connection *connection = events[i].data.ptr;

			if (connection->listens)
				accept_all(connection);
			else
				read_some(connection);
		}
	}
}

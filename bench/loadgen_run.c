// SPDX-License-Identifier: MIT
/*
 * The run: each connection is a small state machine under one epoll. After the time limit no
 * request begins, and outstanding answers are awaited. A connection that fails is not opened again,
 * so that a broken server ends the run early.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "loadgen_common.h"
#include "loadgen_output.h"
#include "loadgen_run.h"

#define DRAIN_SECONDS 5.0
#define EVENTS_PER_WAIT 256
#define WAIT_MS 50
#define REPLY_CAPACITY 16384
#define FIRST_LATENCIES 65536

enum state {
	CONNECTING,
	SENDING,
	READING,
	CLOSING, /* answered; the server closes first, so that its close is part of the work */
	RETIRED,
};

struct connection {
	int fd;
	enum state state;
	bool watches_output;
	const struct buffer *output;
	size_t sent;
	double started;
	char reply[REPLY_CAPACITY + 1]; /* with a NUL for the string functions */
	size_t received;
	size_t head_length; /* 0 until the reply's head is complete */
	size_t content_length;
	bool server_closes;
};

struct load {
	const struct options *options;
	const struct output *output;
	struct result result;
	int epoll;
	double begun;
	bool finishing;
	long live;  /* connections that are not retired */
	long asked; /* requests begun, answered or not */
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void watch(struct load *load, struct connection *conn, int operation, bool output)
{
	struct epoll_event event = { .events = EPOLLIN | (output ? EPOLLOUT : 0),
				     .data.ptr = conn };

	if (epoll_ctl(load->epoll, operation, conn->fd, &event))
		die("epoll_ctl: %s", strerror(errno));
	conn->watches_output = output;
}

static void watch_output(struct load *load, struct connection *conn, bool output)
{
	/* A keep-alive request that fits the socket's buffer costs no system call here. */
	if (conn->watches_output != output)
		watch(load, conn, EPOLL_CTL_MOD, output);
}

static void retire(struct load *load, struct connection *conn)
{
	if (conn->fd >= 0)
		close(conn->fd);
	conn->fd = -1;
	conn->state = RETIRED;
	load->live--;
}

static void fail(struct load *load, struct connection *conn, const char *what, int error)
{
	if (!load->result.errors++)
		snprintf(load->result.first_error, sizeof(load->result.first_error), "%s%s%s", what,
			 error ? ": " : "", error ? strerror(error) : "");
	retire(load, conn);
}

/* Counts one more request, if it may begin. */
static bool take_request(struct load *load)
{
	if (load->finishing || load->asked == load->options->requests)
		return false;
	load->asked++;
	return true;
}

static void open_connection(struct load *load, struct connection *conn)
{
	const struct sockaddr_in *server = &load->options->server;
	int on = 1;

	if (!take_request(load)) {
		retire(load, conn);
		return;
	}
	load->result.connections++;
	conn->state = CONNECTING;
	conn->received = conn->head_length = 0;
	conn->server_closes = false;
	conn->started = now();
	conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (conn->fd < 0) {
		fail(load, conn, "socket", errno);
		return;
	}
	setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(conn->fd, (const struct sockaddr *)server, sizeof(*server)) &&
	    errno != EINPROGRESS) {
		fail(load, conn, "connect", errno);
		return;
	}
	watch(load, conn, EPOLL_CTL_ADD, true);
}

static void send_output(struct load *load, struct connection *conn)
{
	while (conn->sent < conn->output->length) {
		ssize_t count = send(conn->fd, conn->output->bytes + conn->sent,
				     conn->output->length - conn->sent, MSG_NOSIGNAL);

		if (count < 0 && errno == EAGAIN) {
			watch_output(load, conn, true);
			return;
		}
		if (count < 0) {
			fail(load, conn, "send", errno);
			return;
		}
		conn->sent += (size_t)count;
	}
	conn->state = READING;
	watch_output(load, conn, false);
}

static void begin_request(struct load *load, struct connection *conn, const struct buffer *output)
{
	conn->output = output;
	conn->sent = 0;
	conn->received = conn->head_length = 0;
	conn->state = SENDING;
	send_output(load, conn);
}

static void finish_connect(struct load *load, struct connection *conn)
{
	int error = 0;
	socklen_t size = sizeof(error);

	getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &size);
	if (error)
		fail(load, conn, "connect", error);
	else
		begin_request(load, conn, &load->output->first);
}

static void record_answer(struct load *load, const struct connection *conn)
{
	struct result *result = &load->result;
	double time = now();

	if ((size_t)result->requests == result->latency_capacity) {
		result->latency_capacity =
			result->latency_capacity ? result->latency_capacity * 2 : FIRST_LATENCIES;
		result->latencies = realloc(result->latencies, result->latency_capacity *
								       sizeof(*result->latencies));
		if (!result->latencies)
			die("out of memory for latencies");
	}
	result->latencies[result->requests++] = (uint32_t)((time - conn->started) * 1e6);
	result->seconds = time - load->begun;
}

/* Returns the head's error, or NULL. Makes the head a string without its last newline. */
static const char *read_head(struct load *load, struct connection *conn, char *end)
{
	const char *length;

	*end = '\0';
	if (strncmp(conn->reply, "HTTP/1.", 7) || conn->received < 12)
		return "the answer is not HTTP/1";
	if (strncmp(conn->reply + 9, "200", 3))
		load->result.non_200++;
	length = strcasestr(conn->reply, "\ncontent-length:");
	if (!length)
		return "an answer without Content-Length";
	conn->content_length = strtoul(length + strlen("\ncontent-length:"), NULL, 10);
	conn->head_length = (size_t)(end - conn->reply) + strlen("\r\n\r\n");
	if (conn->head_length + conn->content_length > REPLY_CAPACITY)
		return "an answer larger than the buffer";
	conn->server_closes = strcasestr(conn->reply, "\nconnection: close");
	return NULL;
}

static bool body_is_expected(const struct load *load, const struct connection *conn)
{
	const char *expect = load->options->expect;

	return !expect || (strlen(expect) == conn->content_length &&
			   !memcmp(conn->reply + conn->head_length, expect, conn->content_length));
}

static void complete(struct load *load, struct connection *conn)
{
	if (conn->received > conn->head_length + conn->content_length) {
		fail(load, conn, "bytes after the answer", 0);
		return;
	}
	if (conn->state == SENDING) {
		fail(load, conn, "answered before the request was sent", 0);
		return;
	}
	if (!body_is_expected(load, conn)) {
		fail(load, conn, "an unexpected body", 0);
		return;
	}
	record_answer(load, conn);
	if (!load->options->keep_alive || conn->server_closes) {
		conn->state = CLOSING;
		conn->received = 0;
	} else if (take_request(load)) {
		conn->started = now();
		begin_request(load, conn, &load->output->next);
	} else {
		retire(load, conn);
	}
}

static void read_answer(struct load *load, struct connection *conn)
{
	const char *wrong;
	char *end;

	conn->reply[conn->received] = '\0';
	if (!conn->head_length) {
		end = memmem(conn->reply, conn->received, "\r\n\r\n", 4);
		if (!end && conn->received == REPLY_CAPACITY) {
			fail(load, conn, "a head larger than the buffer", 0);
			return;
		}
		if (!end)
			return;
		wrong = read_head(load, conn, end);
		if (wrong) {
			fail(load, conn, wrong, 0);
			return;
		}
	}
	if (conn->received >= conn->head_length + conn->content_length)
		complete(load, conn);
}

static void reopen(struct load *load, struct connection *conn)
{
	close(conn->fd);
	open_connection(load, conn);
}

static void receive(struct load *load, struct connection *conn)
{
	ssize_t count = recv(conn->fd, conn->reply + conn->received,
			     REPLY_CAPACITY - conn->received, 0);

	if (count < 0 && errno == EAGAIN)
		return;
	if (count < 0)
		fail(load, conn, "recv", errno);
	else if (conn->state == CLOSING && count == 0)
		reopen(load, conn);
	else if (conn->state == CLOSING)
		fail(load, conn, "bytes after the last answer", 0);
	else if (count == 0)
		fail(load, conn, "closed before the answer", 0);
	else {
		conn->received += (size_t)count;
		read_answer(load, conn);
	}
}

static void handle(struct load *load, struct connection *conn, uint32_t events)
{
	if (conn->state == CONNECTING) {
		finish_connect(load, conn);
		return;
	}
	if (conn->state == SENDING && events & EPOLLOUT)
		send_output(load, conn);
	if (conn->state != RETIRED && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		receive(load, conn);
}

static void abandon(struct load *load, struct connection *connections)
{
	for (long i = 0; i < load->options->connections; i++)
		if (connections[i].state == CLOSING)
			fail(load, &connections[i], "not closed in time after the answer", 0);
		else if (connections[i].state != RETIRED)
			fail(load, &connections[i], "no answer in time", 0);
}

static void serve_events(struct load *load)
{
	struct epoll_event events[EVENTS_PER_WAIT];
	int count = epoll_wait(load->epoll, events, EVENTS_PER_WAIT, WAIT_MS);

	for (int i = 0; i < count; i++)
		handle(load, events[i].data.ptr, events[i].events);
}

struct result run_load(const struct options *options, const struct output *output)
{
	struct connection *connections = calloc((size_t)options->connections, sizeof(*connections));
	struct load load = { .options = options, .output = output, .live = options->connections };
	double late = 0;

	load.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!connections || load.epoll < 0)
		die("cannot start: %s", strerror(errno));
	load.begun = now();
	for (long i = 0; i < options->connections; i++)
		open_connection(&load, &connections[i]);
	while (load.live && late < DRAIN_SECONDS) {
		serve_events(&load);
		late = now() - load.begun - options->seconds;
		load.finishing = late >= 0;
	}
	abandon(&load, connections);
	close(load.epoll);
	free(connections);
	return load.result;
}

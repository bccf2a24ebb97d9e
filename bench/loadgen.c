// SPDX-License-Identifier: MIT
/*
 * loadgen: drives an HTTP/1.1 server on loopback and writes an origin in front of its requests.
 *
 * It connects to 127.0.0.0/8 only. It ends after --requests or --seconds, whichever comes first,
 * plus at most DRAIN_SECONDS for outstanding answers. It checks every answer (framing, status, body
 * with --expect). It first stops sending and then waits for the outstanding answers, so `requests`
 * is the server's whole work, by which its CPU time can be divided.
 *
 * The last line on stdout is one JSON object. Latencies are microseconds, from the first byte of
 * the request (from connect() when each request has its own connection) to the last of the answer.
 * Exit status: 0 when the run took place, whatever the server answered; 2 for a wrong call.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loadgen_common.h"
#include "loadgen_output.h"
#include "loadgen_run.h"

#define MAX_CONNECTIONS 4096
#define MAX_SECONDS 600
#define MAX_REQUESTS 100000000L
#define MAX_BODY (1L << 30)

static const char *const format_names[] = { "none", "proxy-v1", "proxy-v2", "ctframe" };

static int by_value(const void *left, const void *right)
{
	uint32_t a = *(const uint32_t *)left;
	uint32_t b = *(const uint32_t *)right;

	return (a > b) - (a < b);
}

static void report(struct result *result)
{
	double rps = result->seconds > 0 ? (double)result->requests / result->seconds : 0;
	uint32_t p50 = 0, p99 = 0;

	if (result->requests) {
		qsort(result->latencies, (size_t)result->requests, sizeof(*result->latencies),
		      by_value);
		p50 = result->latencies[result->requests / 2];
		p99 = result->latencies[result->requests * 99 / 100];
	}
	printf("{\"requests\": %ld, \"errors\": %ld, \"non_200\": %ld, \"connections\": %ld, "
	       "\"seconds\": %.6f, \"rps\": %.1f, \"p50_us\": %u, \"p99_us\": %u, "
	       "\"first_error\": \"%s\"}\n",
	       result->requests, result->errors, result->non_200, result->connections,
	       result->seconds, rps, p50, p99, result->first_error);
}

static void usage(void)
{
	puts("loadgen --port N [OPTIONS]: HTTP/1.1 load on loopback, with origins in front\n"
	     "  --address A        where to connect, in 127.0.0.0/8      [127.0.0.1]\n"
	     "  --port N           where to connect\n"
	     "  --connections N    open at once                          [64]\n"
	     "  --requests N       stop after N requests                 [100000000]\n"
	     "  --seconds S        stop after S seconds, at most 600     [1]\n"
	     "  --new-connection   one connection per request            [keep-alive]\n"
	     "  --format F         none, proxy-v1, proxy-v2, ctframe     [none]\n"
	     "  --frame-size N     ctframe: payload bytes per frame      [65535]\n"
	     "  --destination A:P  the original destination written      [198.18.0.1:80]\n"
	     "  --header-file F    begin each connection with this file's bytes\n"
	     "  --body N           POST N bytes, head not included       [0: GET]\n"
	     "  --path P           request target                        [/]\n"
	     "  --expect TEXT      every answer's body must be this");
}

static long whole_number(const char *name, const char *text, long low, long high)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno || end == text || *end || value < low || value > high)
		die("--%s: a number from %ld to %ld, not '%s'", name, low, high, text);
	return value;
}

static double duration(const char *text)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value > 0 && value <= MAX_SECONDS))
		die("--seconds: more than 0, at most %d, not '%s'", MAX_SECONDS, text);
	return value;
}

static struct in_addr ipv4(const char *name, const char *text)
{
	struct in_addr address;

	if (inet_pton(AF_INET, text, &address) != 1)
		die("--%s: '%s' is not an IPv4 address", name, text);
	return address;
}

static struct in_addr loopback(const char *text)
{
	struct in_addr address = ipv4("address", text);

	if (ntohl(address.s_addr) >> 24 != IN_LOOPBACKNET)
		die("--address: '%s' is not in 127.0.0.0/8", text);
	return address;
}

static struct sockaddr_in endpoint(const char *name, const char *text)
{
	struct sockaddr_in result = { .sin_family = AF_INET };
	const char *colon = strrchr(text, ':');
	char host[INET_ADDRSTRLEN];

	if (!colon || (size_t)(colon - text) >= sizeof(host))
		die("--%s: ADDRESS:PORT, not '%s'", name, text);
	memcpy(host, text, (size_t)(colon - text));
	host[colon - text] = '\0';
	result.sin_addr = ipv4(name, host);
	result.sin_port = htons((uint16_t)whole_number(name, colon + 1, 1, 65535));
	return result;
}

static enum format format_named(const char *text)
{
	for (size_t i = 0; i < sizeof(format_names) / sizeof(*format_names); i++)
		if (!strcmp(text, format_names[i]))
			return (enum format)i;
	die("--format: none, proxy-v1, proxy-v2 or ctframe, not '%s'", text);
}

static struct options defaults(void)
{
	struct options options = {
		.server = { .sin_family = AF_INET },
		.path = "/",
		.connections = 64,
		.requests = MAX_REQUESTS,
		.seconds = 1,
		.keep_alive = true,
		.frame_size = FRAME_MAX,
	};

	options.server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	options.destination = endpoint("destination", "198.18.0.1:80");
	return options;
}

static void set_option(struct options *options, const char *name)
{
	if (!strcmp(name, "address"))
		options->server.sin_addr = loopback(optarg);
	else if (!strcmp(name, "port"))
		options->server.sin_port = htons((uint16_t)whole_number(name, optarg, 1, 65535));
	else if (!strcmp(name, "connections"))
		options->connections = whole_number(name, optarg, 1, MAX_CONNECTIONS);
	else if (!strcmp(name, "requests"))
		options->requests = whole_number(name, optarg, 1, MAX_REQUESTS);
	else if (!strcmp(name, "seconds"))
		options->seconds = duration(optarg);
	else if (!strcmp(name, "new-connection"))
		options->keep_alive = false;
	else if (!strcmp(name, "format"))
		options->format = format_named(optarg);
	else if (!strcmp(name, "frame-size"))
		/* The length field has 16 bits: 65536 would become an empty frame. */
		options->frame_size = (size_t)whole_number(name, optarg, 1, FRAME_MAX);
	else if (!strcmp(name, "destination"))
		options->destination = endpoint(name, optarg);
	else if (!strcmp(name, "header-file"))
		options->header_file = optarg;
	else if (!strcmp(name, "body"))
		options->body = (size_t)whole_number(name, optarg, 0, MAX_BODY);
	else if (!strcmp(name, "path"))
		options->path = optarg;
	else if (!strcmp(name, "expect"))
		options->expect = optarg;
}

static struct options parse_arguments(int count, char **arguments)
{
	static const struct option known[] = {
		{ "address", required_argument, NULL, 0 },
		{ "port", required_argument, NULL, 0 },
		{ "connections", required_argument, NULL, 0 },
		{ "requests", required_argument, NULL, 0 },
		{ "seconds", required_argument, NULL, 0 },
		{ "new-connection", no_argument, NULL, 0 },
		{ "format", required_argument, NULL, 0 },
		{ "frame-size", required_argument, NULL, 0 },
		{ "destination", required_argument, NULL, 0 },
		{ "header-file", required_argument, NULL, 0 },
		{ "body", required_argument, NULL, 0 },
		{ "path", required_argument, NULL, 0 },
		{ "expect", required_argument, NULL, 0 },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct options options = defaults();
	int which, code;

	while ((code = getopt_long(count, arguments, "h", known, &which)) != -1) {
		if (code == 'h') {
			usage();
			exit(0);
		}
		if (code)
			exit(2);
		set_option(&options, known[which].name);
	}
	if (optind < count)
		die("unexpected '%s'", arguments[optind]);
	if (!options.server.sin_port)
		die("--port is required");
	if (options.header_file && options.format != FORMAT_NONE)
		die("--header-file is the header: it goes with --format none");
	return options;
}

int main(int count, char **arguments)
{
	struct options options = parse_arguments(count, arguments);
	struct output output = make_output(&options);
	struct result result = run_load(&options, &output);

	report(&result);
	free(result.latencies);
	free_output(&output);
	return 0;
}

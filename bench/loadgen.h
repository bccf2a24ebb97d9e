// SPDX-License-Identifier: MIT
/* What the three files of the load generator share: the call, the bytes, the run and its result. */
#ifndef LOADGEN_H
#define LOADGEN_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ctframe (docs/wire-formats.md): the length of a frame is a u16, and no frame is empty. */
#define FRAME_MAX 65535

enum format { FORMAT_NONE, FORMAT_PROXY_V1, FORMAT_PROXY_V2, FORMAT_CTFRAME };

struct options {
	struct sockaddr_in server;
	struct sockaddr_in destination; /* the origin that is written */
	enum format format;
	const char *header_file; /* NULL, or the header of each connection, made elsewhere */
	const char *path;
	const char *expect; /* NULL, or what each answer's body must be */
	long connections;
	long requests;
	double seconds;
	bool keep_alive;
	size_t body; /* bytes, head and frame headers not counted */
	size_t frame_size;
};

struct buffer {
	char *bytes;
	size_t length;
};

/* What a connection sends: `first` once, the origin and a request, then `next` each time. */
struct output {
	struct buffer first;
	struct buffer next;
};

struct result {
	long requests; /* answered and as expected, whatever the status */
	long errors;   /* connections that failed; none of them is opened again */
	long non_200;
	long connections;
	double seconds; /* from the first connect() to the last answer */
	char first_error[128];
	uint32_t *latencies; /* microseconds, `requests` of them, in the order of the answers */
	size_t latency_capacity;
};

/* loadgen.c: prints why and ends with status 2. */
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);
void *allocate(size_t size);

/* loadgen_output.c */
struct output make_output(const struct options *options);
void free_output(struct output *output);

/* loadgen_run.c: returns once every connection has ended. The caller frees the latencies. */
struct result run_load(const struct options *options, const struct output *output);

#endif

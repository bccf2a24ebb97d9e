// SPDX-License-Identifier: MIT
/* What each file of the load generator needs: the options of a call, die() and allocate(). */
#ifndef LOADGEN_COMMON_H
#define LOADGEN_COMMON_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

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

/* Prints the reason on stderr and ends the program with status 2. */
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);

/* Memory that the caller frees. It is never NULL: die() when there is none. */
void *allocate(size_t size);

#endif

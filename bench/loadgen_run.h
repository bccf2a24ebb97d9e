// SPDX-License-Identifier: MIT
#ifndef LOADGEN_RUN_H
#define LOADGEN_RUN_H

#include <stddef.h>
#include <stdint.h>

#include "loadgen_common.h"
#include "loadgen_output.h"

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

/* Returns once every connection has ended. The caller frees the latencies. */
struct result run_load(const struct options *options, const struct output *output);

#endif

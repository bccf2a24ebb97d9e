// SPDX-License-Identifier: MIT
#ifndef LOADGEN_OUTPUT_H
#define LOADGEN_OUTPUT_H

#include <stddef.h>

#include "loadgen_common.h"

struct buffer {
	char *bytes;
	size_t length;
};

/* What a connection sends: `first` once, the origin and a request, then `next` each time. */
struct output {
	struct buffer first;
	struct buffer next;
};

struct output make_output(const struct options *options);
void free_output(struct output *output);

#endif

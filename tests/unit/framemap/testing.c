// SPDX-License-Identifier: GPL-2.0-only
/*
 * The allocator of the frame map in its tests: it counts, and fails when a test says so.
 * Link with --wrap=malloc --wrap=free.
 */
#include <stdbool.h>
#include <stddef.h>

#include "framemap.h"

void *__real_malloc(size_t bytes);
void __real_free(void *memory);

long testing_allocated;
bool testing_memory_short;
const size_t testing_map_size = sizeof(struct framemap);

void *__wrap_malloc(size_t bytes)
{
	if (testing_memory_short)
		return NULL;
	testing_allocated++;
	return __real_malloc(bytes);
}

void __wrap_free(void *memory)
{
	if (memory)
		testing_allocated--;
	__real_free(memory);
}

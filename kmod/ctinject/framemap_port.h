/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What framemap.c needs from its environment: types, error numbers, an allocator. It is compiled
 * into the module and, for its tests, into a user-space library. Only this file knows the
 * difference.
 */
#ifndef CTINJECT_FRAMEMAP_PORT_H
#define CTINJECT_FRAMEMAP_PORT_H

#include <linux/errno.h>
#include <linux/types.h>

#ifdef __KERNEL__

/* In limits.c, within max_memory. */
void *framemap_alloc(size_t bytes);
void framemap_free(void *memory, size_t bytes);

#else

#include <stdbool.h>
#include <stdlib.h>

typedef __u32 u32;
typedef __s32 s32;

static inline void *framemap_alloc(size_t bytes)
{
	return malloc(bytes);
}

static inline void framemap_free(void *memory, size_t bytes)
{
	(void)bytes;
	free(memory);
}

#endif
#endif

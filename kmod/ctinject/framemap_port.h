/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What framemap.c needs from the kernel: types, error numbers, an allocator. A header with the same
 * include guard can replace it where framemap.c is built for user space.
 */
#ifndef CTINJECT_FRAMEMAP_PORT_H
#define CTINJECT_FRAMEMAP_PORT_H

#include <linux/errno.h>
#include <linux/types.h>

struct framemap;

/* In limits.c, within the max_memory of the map's namespace. */
void *framemap_alloc(const struct framemap *map, size_t bytes);
void framemap_free(const struct framemap *map, void *memory, size_t bytes);

#endif

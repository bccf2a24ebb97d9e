/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What framemap.c needs from the kernel: types, error numbers, an allocator. A header with the same
 * include guard can replace it where framemap.c is built for user space.
 */
#ifndef CTINJECT_FRAMEMAP_PORT_H
#define CTINJECT_FRAMEMAP_PORT_H

#include <linux/errno.h>
#include <linux/types.h>

/* In limits.c, within max_memory. */
void *framemap_alloc(size_t bytes);
void framemap_free(void *memory, size_t bytes);

#endif

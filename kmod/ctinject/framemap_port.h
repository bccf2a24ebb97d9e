/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What framemap.c needs from the kernel: types, error numbers, an allocator. A header with the same
 * include guard can replace it where framemap.c is built for user space.
 */
#ifndef CTINJECT_FRAMEMAP_PORT_H
#define CTINJECT_FRAMEMAP_PORT_H

#include <linux/errno.h>
#include <linux/types.h>

/* In limits.c. @account: the network namespace, whose max_memory bounds this. */
void *framemap_alloc(const void *account, size_t bytes);
void framemap_free(const void *account, void *memory, size_t bytes);

#endif

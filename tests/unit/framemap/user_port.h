/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Takes the place of kmod/ctinject/framemap_port.h in the user-space library. The compiler includes
 * it first (-include), and because of the same include guard it then skips the kernel's file.
 */
#ifndef CTINJECT_FRAMEMAP_PORT_H
#define CTINJECT_FRAMEMAP_PORT_H

#include <linux/errno.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stdlib.h>

typedef __u32 u32;
typedef __s32 s32;

static inline void *framemap_alloc(const void *account, size_t bytes)
{
	(void)account;
	return malloc(bytes);
}

static inline void framemap_free(const void *account, void *memory, size_t bytes)
{
	(void)account;
	(void)bytes;
	free(memory);
}

#endif

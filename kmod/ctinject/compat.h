/* SPDX-License-Identifier: GPL-2.0-only */
/* Differences between the supported kernels. No other file compares kernel versions. */
#ifndef CTINJECT_COMPAT_H
#define CTINJECT_COMPAT_H

#include <linux/version.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#include <linux/unaligned.h>
#else
#include <asm/unaligned.h>
#endif

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
/* What differs between the supported kernels (6.1 and 6.12). No other file asks for a version. */
#ifndef CTINJECT_COMPAT_H
#define CTINJECT_COMPAT_H

#include <linux/version.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#include <linux/unaligned.h>
#else
#include <asm/unaligned.h>
#endif

#endif

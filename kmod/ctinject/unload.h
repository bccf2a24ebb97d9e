/* SPDX-License-Identifier: GPL-2.0-only */
/* What an unload does to connections. */
#ifndef CTINJECT_UNLOAD_H
#define CTINJECT_UNLOAD_H

#include <linux/types.h>

extern bool unload_begun;

void unload_connections(void);

#endif

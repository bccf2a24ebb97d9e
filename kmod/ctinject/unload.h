/* SPDX-License-Identifier: GPL-2.0-only */
/* Ends connections when the module is unloaded. */
#ifndef CTINJECT_UNLOAD_H
#define CTINJECT_UNLOAD_H

#include <linux/types.h>

/* From then on packets that would need the module are dropped. Read it with READ_ONCE(). */
extern bool unload_begun;

void unload_connections(void);

#endif

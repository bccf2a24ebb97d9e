/* SPDX-License-Identifier: GPL-2.0-only */
/* What an unload does to connections. */
#ifndef CTINJECT_UNLOAD_H
#define CTINJECT_UNLOAD_H

void unload_connections(void);

#endif

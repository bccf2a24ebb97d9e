/* SPDX-License-Identifier: GPL-2.0-only */
/* Removes flows whose connection has left the module. */
#ifndef CTINJECT_SWEEP_H
#define CTINJECT_SWEEP_H

void sweep_start(void);
void sweep_stop(void);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
/* What must be so on this kernel before a rule may have our helpers. */
#ifndef CTINJECT_SELFTEST_H
#define CTINJECT_SELFTEST_H

int selftest(void);

#endif

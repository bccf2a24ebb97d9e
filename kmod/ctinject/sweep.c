// SPDX-License-Identifier: GPL-2.0-only
/*
 * Removes flows whose connection has left the module.
 *
 * A flow holds a reference of its conntrack, and the conntrack's ->destroy() kills the flow. When
 * user space takes the helper away (conntrack -U), ->destroy() is not called any more: the flow
 * is an orphan. Orphans are rare and cost only memory, so a search every 30 seconds is enough.
 */

#include <linux/workqueue.h>

#include "conn.h"
#include "flow.h"
#include "sweep.h"

#define SWEEP_INTERVAL (30 * HZ)

static void sweep(struct work_struct *work);
static DECLARE_DELAYED_WORK(sweeper, sweep);

static void kill_orphan(struct flow *flow, const void *unused)
{
	if (conn_is_orphan(flow))
		flow_kill(flow);
}

static void sweep(struct work_struct *work)
{
	flow_each(kill_orphan, NULL);
	schedule_delayed_work(&sweeper, SWEEP_INTERVAL);
}

void sweep_start(void)
{
	schedule_delayed_work(&sweeper, SWEEP_INTERVAL);
}

/* Afterwards no sweep is running, and none will begin. */
void sweep_stop(void)
{
	cancel_delayed_work_sync(&sweeper);
}

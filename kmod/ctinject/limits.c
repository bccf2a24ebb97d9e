// SPDX-License-Identifier: GPL-2.0-only
/* Limits of flows, frames and memory, and the allocator of the frame maps, which obeys them. */

#include <linux/atomic.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>

#include "framemap_port.h"
#include "limits.h"

unsigned int limits_flows = 262144;
module_param_named(max_flows, limits_flows, uint, 0644);
MODULE_PARM_DESC(max_flows, "connections with two sequence spaces at once, of all namespaces");

unsigned int limits_frames = 8192;
module_param_named(max_frames, limits_frames, uint, 0644);
MODULE_PARM_DESC(max_frames, "ctframe: frames of a connection that are not acknowledged");

static unsigned int max_memory = 131072;
module_param(max_memory, uint, 0644);
MODULE_PARM_DESC(max_memory, "KiB for all flows and their frames");

static atomic_long_t charged = ATOMIC_LONG_INIT(0);

/* Takes @bytes out of what max_memory allows, or gives them back when the number is negative. */
bool limits_charge(long bytes)
{
	long limit = (long)READ_ONCE(max_memory) << 10;

	if (atomic_long_add_return(bytes, &charged) <= limit || bytes <= 0)
		return true;
	atomic_long_sub(bytes, &charged);
	return false;
}

/* Bytes that are charged now. */
long limits_memory(void)
{
	return atomic_long_read(&charged);
}

void *framemap_alloc(size_t bytes)
{
	void *memory;

	if (!limits_charge(bytes))
		return NULL;
	memory = kmalloc(bytes, GFP_ATOMIC | __GFP_NOWARN);
	if (!memory)
		limits_charge(-(long)bytes);
	return memory;
}

void framemap_free(void *memory, size_t bytes)
{
	kfree(memory);
	limits_charge(-(long)bytes);
}

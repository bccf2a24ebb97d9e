// SPDX-License-Identifier: GPL-2.0-only
/*
 * Signing keys of a network namespace: /proc/net/ctinject_keys, mode 0600.
 *
 * Keys can be written and not read. A line `ID HEX` sets a key of 16 to 32 bytes, a line `ID`
 * removes it, and a line that begins with # is a comment, so that a key file of `ctwsgi serve` can
 * be written unchanged. One write() makes all of its changes or none. Reading shows the ids. The
 * key with the lowest id signs (docs/keys.md).
 */

#include <linux/ctype.h>
#include <linux/kernel.h>
#include <linux/mutex.h>
#include <linux/proc_fs.h>
#include <linux/rcupdate.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <net/net_namespace.h>

#include "compat.h"
#include "keys.h"
#include "pernet.h"

#define KEYS_MAX 16

/* Sorted by id. A change replaces the whole struct. */
struct signing_keys {
	unsigned int count;
	struct signing_key keys[KEYS_MAX];
};

static DEFINE_MUTEX(writer);

/*
 * The key that signs, or NULL. Caller holds rcu_read_lock() for as long as it uses the key.
 */
const struct signing_key *keys_signing(const struct net *net)
{
	const struct signing_keys *ring = rcu_dereference(pernet_of(net)->keys);

	return ring && ring->count ? &ring->keys[0] : NULL;
}

/* The key with that id, or NULL. Caller holds rcu_read_lock() for as long as it uses the key. */
const struct signing_key *keys_find(const struct net *net, u8 id)
{
	const struct signing_keys *ring = rcu_dereference(pernet_of(net)->keys);
	unsigned int i;

	for (i = 0; ring && i < ring->count; i++)
		if (ring->keys[i].id == id)
			return &ring->keys[i];
	return NULL;
}

static void ring_remove(struct signing_keys *ring, u8 id)
{
	unsigned int i;

	for (i = 0; i < ring->count; i++) {
		if (ring->keys[i].id != id)
			continue;
		ring->count--;
		memmove(&ring->keys[i], &ring->keys[i + 1],
			(ring->count - i) * sizeof(ring->keys[0]));
		return;
	}
}

static int ring_set(struct signing_keys *ring, const struct signing_key *key)
{
	unsigned int i = 0;

	ring_remove(ring, key->id);
	if (ring->count == KEYS_MAX)
		return -ENOSPC;
	while (i < ring->count && ring->keys[i].id < key->id)
		i++;
	memmove(&ring->keys[i + 1], &ring->keys[i], (ring->count - i) * sizeof(ring->keys[0]));
	ring->keys[i] = *key;
	ring->count++;
	return 0;
}

/* Makes the change that one line asks for. The line is modified. */
static int ring_apply(struct signing_keys *ring, char *line)
{
	struct signing_key key = {};
	size_t digits;
	char *id;
	int err;

	line = strim(line);
	if (!*line || *line == '#')
		return 0;
	id = strsep(&line, " \t");
	err = kstrtou8(id, 10, &key.id);
	if (err)
		return err;
	if (!line) {
		ring_remove(ring, key.id);
		return 0;
	}
	line = skip_spaces(line);
	digits = strlen(line);
	if (digits % 2 || digits < 2 * KEY_MIN || digits > 2 * KEY_MAX)
		return -EINVAL;
	key.len = digits / 2;
	err = hex2bin(key.secret, line, key.len);
	if (!err)
		err = ring_set(ring, &key);
	memzero_explicit(&key, sizeof(key));
	return err;
}

static int keys_write(struct file *file, char *text, size_t size)
{
	struct ctinject_net *cn = pernet_of(seq_file_single_net(file->private_data));
	struct signing_keys *ring, *old;
	char *rest = text, *line;
	int err = 0;

	ring = kzalloc(sizeof(*ring), GFP_KERNEL);
	if (!ring)
		return -ENOMEM;
	mutex_lock(&writer);
	old = rcu_dereference_protected(cn->keys, lockdep_is_held(&writer));
	if (old)
		*ring = *old;
	while (!err && (line = strsep(&rest, "\n")))
		err = ring_apply(ring, line);
	if (!err) {
		rcu_assign_pointer(cn->keys, ring);
		ring = old;
		synchronize_rcu();
	}
	mutex_unlock(&writer);
	kfree_sensitive(ring);
	memzero_explicit(text, size);
	return err;
}

static int keys_show(struct seq_file *m, void *unused)
{
	struct ctinject_net *cn = pernet_of(seq_file_single_net(m));
	const struct signing_keys *ring;
	unsigned int i;

	rcu_read_lock();
	ring = rcu_dereference(cn->keys);
	for (i = 0; ring && i < ring->count; i++)
		seq_printf(m, "%u\n", ring->keys[i].id);
	rcu_read_unlock();
	return 0;
}

int keys_net_init(struct net *net)
{
	if (!proc_create_net_single_write("ctinject_keys", 0600, net->proc_net, keys_show,
					  keys_write, NULL))
		return -ENOMEM;
	return 0;
}

void keys_net_exit(struct net *net)
{
	remove_proc_entry("ctinject_keys", net->proc_net);
	/* Only the hooks read keys, and a grace period has passed since they were unregistered. */
	kfree_sensitive(rcu_dereference_protected(pernet_of(net)->keys, 1));
}

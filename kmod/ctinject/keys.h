/* SPDX-License-Identifier: GPL-2.0-only */
/* Signing keys of a network namespace. */
#ifndef CTINJECT_KEYS_H
#define CTINJECT_KEYS_H

#include <linux/types.h>

struct net;

#define KEY_MIN 16
#define KEY_MAX 32

/**
 * struct signing_key - a key that signs headers
 * @id: stands in the header
 * @len: bytes of @secret, KEY_MIN..KEY_MAX
 * @secret: never leaves the kernel
 */
struct signing_key {
	u8 id, len;
	u8 secret[KEY_MAX];
};

const struct signing_key *keys_signing(const struct net *net);
const struct signing_key *keys_find(const struct net *net, u8 id);

int keys_net_init(struct net *net);
void keys_net_exit(struct net *net);

#endif

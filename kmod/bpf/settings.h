/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Settings that user space writes; ctwsgi/ebpf/structs.py packs the same structs.
 *
 * They may change while packets pass. The key is copied under its lock, so that no header is signed
 * with parts of two keys.
 */
#ifndef CTPROXY_SETTINGS_H
#define CTPROXY_SETTINGS_H

#include "kernel.h"

enum selection {
	SELECT_TRANSLATED,	/* every connection whose destination was translated */
	SELECT_MARK,		/* of these, connections with a conntrack mark */
	SELECT_BACKENDS,	/* of these, connections to a server in the map */
};

struct settings {
	__u32 link_header;	/* bytes before the IP header: 14, or 0 */
	__u32 selection;
	__u32 mark, mask;
	__u32 one_armed;	/* clients may be behind the servers' device */
	__u32 pass_existing;	/* connections older than the program pass without a header */
	__u32 is_signed;
	__s32 tai_offset;	/* seconds that TAI is ahead of Unix time */
	__u32 closing;		/* SYNs of new connections are dropped */
	__u32 sweep;		/* milliseconds between two checks of a flow */
	__u32 owns_qdisc;	/* for user space: it made the clsact qdisc, and removes it */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

#define KEY_MAX 32

struct signing_key {
	struct bpf_spin_lock lock;
	__u8 id;
	__u8 len;		/* 16 to 32; 0: there is no key */
	__u8 secret[KEY_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct signing_key);
} signing_keys SEC(".maps");

/* SELECT_BACKENDS: a server's address and port in packets on this device. */
struct backend {
	__u32 address[4];
	__be16 port;
	__u16 version;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct backend);
	__type(value, __u8);
} backends SEC(".maps");

static __always_inline const struct settings *settings_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&settings, &zero);
}

#endif

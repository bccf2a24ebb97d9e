// SPDX-License-Identifier: GPL-2.0-only
/*
 * What must be so on this kernel before a rule may have our helpers.
 *
 * Kernels change, and a module that still builds can do nothing in silence: if connections are not
 * recognised, the client's own bytes stand where the server expects a header. So the module does
 * not load unless
 *  - a connection that gets one of the registered helpers, in each of the ways in which rules give
 *    it, is recognised with its format, and has empty room for a struct conn;
 *  - a connection without helper, or with another module's, is not;
 *  - headers are signed as docs/wire-formats.md says. Three headers of
 *    tests/unit/wire/vectors/auth.json show it.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/string.h>
#include <linux/utsname.h>
#include <net/netfilter/nf_conntrack_zones.h>

#include "compat.h"
#include "conn.h"
#include "header.h"
#include "helper.h"
#include "keys.h"
#include "selftest.h"

/* What a rule can ask for. Not read from helper.c, so that a kind that lacks there is noticed. */
struct selection {
	const char *helper;
	u8 family;
	u8 protocol;
	enum ctinject_format format;
};

static const struct selection selections[] __initconst = {
	{ "ctframe", NFPROTO_IPV4, IPPROTO_TCP, CTINJECT_CTFRAME },
	{ "ctframe", NFPROTO_IPV4, IPPROTO_UDP, CTINJECT_CTFRAME },
	{ "ctproxy", NFPROTO_IPV4, IPPROTO_TCP, CTINJECT_CTPROXY },
	{ "ctproxy", NFPROTO_IPV4, IPPROTO_UDP, CTINJECT_CTPROXY },
	{ "ctproxy", NFPROTO_IPV6, IPPROTO_TCP, CTINJECT_CTPROXY },
	{ "ctproxy", NFPROTO_IPV6, IPPROTO_UDP, CTINJECT_CTPROXY },
};

/* The key of the signed headers: 00 01 02 ... 1f. */
#define KEY_ID 1
#define SIGNED_AT 1700000000u

/*
 * @seen: the source as NAT has left it
 * @header: in hex: up to the length, addresses and ports, the TLVs
 */
struct vector {
	struct nf_conntrack_tuple original;
	struct nf_conntrack_man seen;
	const char *header[4];
};

static const struct vector vectors[] __initconst = {
	{
		.original = {
			.src = { .l3num = NFPROTO_IPV4, .u3.ip = htonl(0xc0000207),
				 .u.tcp.port = htons(50000) },
			.dst = { .protonum = IPPROTO_TCP, .u3.ip = htonl(0xc6336401),
				 .u.tcp.port = htons(80) },
		},
		.seen = { .u3.ip = htonl(0xc0000207), .u.tcp.port = htons(50000) },
		.header = {
			"0d0a0d0a000d0a515549540a21110025",
			"c0000207c6336401c3500050",
			"e7001601016553f100636f8f3f3c6d621b53680d595f1d76c3",
			"",
		},
	}, {
		.original = {
			.src = { .l3num = NFPROTO_IPV4, .u3.ip = htonl(0xc0000207),
				 .u.tcp.port = htons(50000) },
			.dst = { .protonum = IPPROTO_TCP, .u3.ip = htonl(0xc6336401),
				 .u.tcp.port = htons(80) },
		},
		.seen = { .u3.ip = htonl(0xc0000207), .u.tcp.port = htons(61234) },
		.header = {
			"0d0a0d0a000d0a515549540a2111002e",
			"c0000207c6336401c3500050",
			"e7001601016553f1000d5d1e9f6911a89602668948522922ee",
			"e80006c0000207ef32",
		},
	}, {
		.original = {
			.src = { .l3num = NFPROTO_IPV6, .u.tcp.port = htons(50000),
				 .u3.ip6 = { htonl(0x20010db8), 0, 0, htonl(7) } },
			.dst = { .protonum = IPPROTO_TCP, .u.tcp.port = htons(443),
				 .u3.ip6 = { htonl(0x20010db8), htonl(0x10000), 0, htonl(1) } },
		},
		.seen = { .u3.ip6 = { htonl(0x20010db8), 0, 0, htonl(7) },
			  .u.tcp.port = htons(50000) },
		.header = {
			"0d0a0d0a000d0a515549540a2121003d",
			"20010db800000000000000000000000720010db8000100000000000000000001c35001bb",
			"e7001601016553f100efafccab490303f06ed81ecb62bc9c83",
			"",
		},
	},
};

static int __init wrong(const char *what, const char *of)
{
	pr_err("not loaded, since on Linux %s %s (%s): use another injector, see docs/injectors.md\n",
	       init_utsname()->release, what, of);
	return -EOPNOTSUPP;
}

/* Gives a helper to a connection, as `ct helper set` does. */
static int __init give_helper(struct nf_conn *ct, const struct selection *wanted)
{
	struct nf_conn_help *extension = nf_ct_helper_ext_add(ct, GFP_KERNEL);
	struct nf_conntrack_helper *helper;

	if (!extension)
		return -ENOMEM;
	rcu_read_lock();
	helper = __nf_conntrack_helper_find(wanted->helper, wanted->family, wanted->protocol);
	rcu_assign_pointer(extension->helper, helper);
	rcu_read_unlock();
	return helper ? 0 : wrong("a rule does not find the helper", wanted->helper);
}

static int __init check_recognised(const struct nf_conn *ct, const struct selection *wanted)
{
	enum ctinject_format format;
	const struct conn *conn = conn_of(ct, &format);

	if (!conn || format != wanted->format)
		return wrong("a selected connection is not recognised", wanted->helper);
	if (conn != nfct_help_data(ct) || memchr_inv(conn, 0, sizeof(*conn)))
		return wrong("a selected connection has no empty room", wanted->helper);
	return 0;
}

static int __init check_others(struct nf_conn *ct)
{
	static struct nf_conntrack_helper other;
	struct nf_conn_help *extension = nfct_help(ct);
	enum ctinject_format format;

	if (conn_of(ct, &format))
		return wrong("a connection without helper counts as selected", "none");
	if (!extension)
		return 0;
	rcu_assign_pointer(extension->helper, &other);
	if (conn_of(ct, &format))
		return wrong("a connection of another helper counts as selected", "another");
	RCU_INIT_POINTER(extension->helper, NULL);
	return 0;
}

/* @rule has the helper itself; @ct gets it from there, as by `-j CT --helper`. Under RCU. */
static int __init check_connections(struct nf_conn *rule, struct nf_conn *ct,
				    const struct selection *wanted)
{
	int err;

	err = check_recognised(rule, wanted);
	if (!err)
		err = check_others(ct);
	if (!err)
		err = __nf_ct_try_assign_helper(ct, rule, GFP_ATOMIC);
	if (err)
		return err;
	err = check_recognised(ct, wanted);
	if (err)
		return err;
	helper_detach(ct);
	return check_others(ct);
}

static int __init check_selection(const struct selection *wanted)
{
	struct nf_conn *rule = nf_ct_tmpl_alloc(&init_net, &nf_ct_zone_dflt, GFP_KERNEL);
	struct nf_conn *ct = nf_ct_tmpl_alloc(&init_net, &nf_ct_zone_dflt, GFP_KERNEL);
	int err = rule && ct ? give_helper(rule, wanted) : -ENOMEM;

	if (!err) {
		rcu_read_lock();
		err = check_connections(rule, ct, wanted);
		rcu_read_unlock();
	}
	if (ct)
		nf_ct_tmpl_free(ct);
	if (rule)
		nf_ct_tmpl_free(rule);
	return err;
}

/* Writes the bytes of a vector, at most HEADER_MAX, and returns how many they are; or -EINVAL. */
static int __init read_header(const struct vector *vector, u8 *to)
{
	unsigned int i, len, sum = 0;

	for (i = 0; i < ARRAY_SIZE(vector->header); i++) {
		len = strlen(vector->header[i]) / 2;
		if (sum + len > HEADER_MAX || hex2bin(to + sum, vector->header[i], len))
			return -EINVAL;
		sum += len;
	}
	return sum;
}

static int __init check_header(const struct vector *vector)
{
	struct signing_key key = { .id = KEY_ID, .len = KEY_MAX };
	u8 wanted[HEADER_MAX], header[HEADER_MAX];
	int len = read_header(vector, wanted), err = 0;
	struct nf_conntrack_tuple *reply;
	struct nf_conn *ct;
	unsigned int i;

	if (len < 0)
		return len;
	for (i = 0; i < KEY_MAX; i++)
		key.secret[i] = i;
	ct = nf_ct_tmpl_alloc(&init_net, &nf_ct_zone_dflt, GFP_KERNEL);
	if (!ct)
		return -ENOMEM;
	ct->tuplehash[IP_CT_DIR_ORIGINAL].tuple = vector->original;
	reply = &ct->tuplehash[IP_CT_DIR_REPLY].tuple;
	reply->src.l3num = vector->original.src.l3num;
	reply->dst.u3 = vector->seen.u3;
	reply->dst.u.all = vector->seen.u.all;
	if (header_build(header, ct, &key, SIGNED_AT) != len || memcmp(header, wanted, len))
		err = wrong("a signed header is wrong", "ctproxy");
	nf_ct_tmpl_free(ct);
	return err;
}

/**
 * selftest() - does this kernel treat the registered helpers as we expect?
 *
 * Return: 0, or an error number, and then the log says what is wrong. Process context.
 */
int __init selftest(void)
{
	unsigned int i;
	int err = 0;

	for (i = 0; !err && i < ARRAY_SIZE(selections); i++)
		err = check_selection(&selections[i]);
	for (i = 0; !err && i < ARRAY_SIZE(vectors); i++)
		err = check_header(&vectors[i]);
	return err;
}

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reads and changes TCP options. The TCP header must be linear, and writable for a function that
 * changes it.
 */
#ifndef CTINJECT_TCPOPT_H
#define CTINJECT_TCPOPT_H

#include <linux/skbuff.h>
#include <linux/tcp.h>

struct framemap;

/* A timestamp option with two NOPs in front. */
#define TCPOPT_TIMESTAMP_SPACE 12

enum tcpopt_syn {
	TCPOPT_SYN_PLAIN,
	TCPOPT_SYN_CLEARED,	/* Fast Open or MPTCP was taken out */
	TCPOPT_SYN_SIGNED,	/* MD5 or AO: any change of a segment would break its signature */
};

enum tcpopt_syn tcpopt_clean_syn(struct sk_buff *skb, struct tcphdr *th);
int tcpopt_window_scale(const struct tcphdr *th);
void tcpopt_lower_mss(struct sk_buff *skb, struct tcphdr *th, u16 by);
void tcpopt_strip_sack(struct sk_buff *skb, struct tcphdr *th);
void tcpopt_map_sack(struct sk_buff *skb, struct tcphdr *th, const struct framemap *map);
unsigned int tcpopt_copy_timestamp(const struct tcphdr *th, u8 *options);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The frame map of one connection: where the 8-byte headers stand in the client-to-server stream,
 * and so how sequence numbers of one side translate to the other's.
 *
 *                start(0)     start(1)   start(2)               max
 *                   |            |          |                    |
 * client space  ....|== frame 0 =|= frame 1 |===== frame 2 ======|
 *
 * server space  ....[H]== frame 0 =[H]= frame 1 [H]===== frame 2 ======|
 *                   |              |            |                      |
 *               header(0)      header(1)    header(2)                 end
 *
 *	header(i) = start(i) + FRAMEMAP_HEADER * (pruned + i)
 *	end       = max      + FRAMEMAP_HEADER * (pruned + count)
 *
 * The rules that make it exact, whatever is lost, duplicated, reordered or cut differently:
 *
 * - Frames tile [start(0), max) without holes, and a frame never changes once it is in the map:
 *   its header, which states its length, may have left already.
 * - A header belongs to its frame's first byte. It leaves whenever that byte does, in front of it;
 *   a segment that begins in mid-frame carries none for that frame.
 * - Frames that the server has acknowledged whole are pruned; only their number is kept. All that
 *   lies below start(0) is one region with a constant offset. That is exact at its upper end and
 *   approximate below, which harms nobody: the server has acknowledged every place that this region
 *   maps to, so what lands there, by mistake or by malice, is not looked at.
 *
 * Sequence numbers are compared modulo 2^32. framemap_commit() refuses what lies so far from the
 * ack that this could go wrong, and so a map can be used for any number of bytes.
 *
 * There are no locks here: the caller lets one thread in at a time.
 */
#ifndef CTINJECT_FRAMEMAP_H
#define CTINJECT_FRAMEMAP_H

#include "framemap_port.h"

/* Bytes of a header: IPv4 address, port, length. */
#define FRAMEMAP_HEADER 8u

/* The longest frame: its length has two bytes in the header. */
#define FRAMEMAP_LONGEST 65535u

/* The most frames that a map can be allowed to keep: 4 MiB of memory. */
#define FRAMEMAP_MOST 0x00100000u

/**
 * struct framemap - frames of a connection that the server has not acknowledged whole
 * @una: client space: the highest translated ack
 * @raw: server space: the ack that @una was translated from
 * @max: client space: the end of the last frame
 * @pruned: frames acknowledged and forgotten, modulo 2^32
 * @count: frames kept
 * @head: index in @start of the first of them
 * @capacity: entries that @start has room for: zero or a power of two
 * @limit: the most frames to be kept
 * @mean8: eight times the moving average of the length of new frames
 * @start: ring of the client-space numbers at which frames begin
 * @fin: the client's FIN is at @max: nothing can follow. The caller sets it.
 */
struct framemap {
	u32 una;
	u32 raw;
	u32 max;
	u32 pruned;
	u32 count;
	u32 head;
	u32 capacity;
	u32 limit;
	u32 mean8;
	u32 *start;
	bool fin;
};

/**
 * struct frame - what one header stands for
 * @seq: client space: the frame's first byte
 * @len: its payload bytes, 1 to FRAMEMAP_LONGEST
 */
struct frame {
	u32 seq;
	u32 len;
};

/**
 * enum framemap_edge - which end of a range a server-space number is
 * @FRAMEMAP_RIGHT: all below has arrived: an ack, or the right edge of a SACK block
 * @FRAMEMAP_LEFT: what follows has arrived: the left edge of a SACK block
 */
enum framemap_edge {
	FRAMEMAP_RIGHT,
	FRAMEMAP_LEFT,
};

void framemap_init(struct framemap *map, u32 seq, u32 limit);
void framemap_release(struct framemap *map);
u32 framemap_size(const struct framemap *map);

/* client to server */
int framemap_commit(struct framemap *map, u32 seq, u32 len);
u32 framemap_forward(const struct framemap *map, u32 seq);
u32 framemap_bare(const struct framemap *map, u32 seq);
u32 framemap_first(const struct framemap *map, u32 seq);
struct frame framemap_frame(const struct framemap *map, u32 index);

/* server to client */
u32 framemap_reverse(const struct framemap *map, u32 pos, enum framemap_edge edge);
u32 framemap_ack(struct framemap *map, u32 ack);
u32 framemap_window(const struct framemap *map, u32 ack, u32 window);

#endif

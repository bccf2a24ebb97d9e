/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The frame map of one connection: where headers of 8 bytes stand in the stream to the server, and
 * so how sequence numbers are translated between the two sides.
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
 * These rules make the translation exact, however segments are lost, duplicated, reordered or cut:
 *
 * - Frames tile [start(0), max) without holes. A frame does not change once it is in the map,
 *   because its header, which states its length, may have left already.
 * - A header belongs to its frame's first byte. Each time that byte is sent, the header is sent in
 *   front of it. A segment that begins inside a frame carries no header of that frame.
 * - A frame is pruned when the server has acknowledged all of it; only the number of pruned frames
 *   is kept. Below start(0) all numbers are translated with one offset. That is exact for the last
 *   pruned frame and approximate below. The approximation does no harm: all these numbers are
 *   translated to numbers that the server has acknowledged, so it ignores bytes that are sent
 *   there.
 *
 * Sequence numbers are compared modulo 2^32. framemap_commit() refuses numbers that are so far from
 * the ack that a comparison could be wrong, so a connection may carry any number of bytes.
 *
 * The functions take no locks: the caller makes sure that one thread at a time uses a map.
 */
#ifndef CTINJECT_FRAMEMAP_H
#define CTINJECT_FRAMEMAP_H

#include "framemap_port.h"

/* Length of a header: IPv4 address, port, frame length. */
#define FRAMEMAP_HEADER 8u

/* Length of the longest frame, which the header states in two bytes. */
#define FRAMEMAP_LONGEST 65535u

/* The highest limit of frames in a map, which then has 4 MiB of memory. */
#define FRAMEMAP_MOST 0x00100000u

/**
 * struct framemap - the frames of a connection that the server has not acknowledged completely
 * @una: client space: the highest translated ack
 * @raw: server space: the ack that @una was translated from
 * @max: client space: the end of the last frame
 * @pruned: number of pruned frames, modulo 2^32
 * @count: number of frames in the map
 * @head: index in @start of the first of them
 * @capacity: number of entries in @start: zero or a power of two
 * @limit: the highest allowed @count
 * @mean8: eight times the moving average of the lengths of new frames
 * @start: ring of the client-space numbers at which frames begin
 * @fin: the client's FIN is at @max, so nothing can follow; set by the caller
 * @account: what framemap_alloc() charges for @start; set by the caller
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
	const void *account;
};

/**
 * struct frame - one frame
 * @seq: client space: the frame's first byte
 * @len: its payload bytes, 1 to FRAMEMAP_LONGEST
 */
struct frame {
	u32 seq;
	u32 len;
};

/**
 * enum framemap_edge - which end of a range a server-space number is
 * @FRAMEMAP_RIGHT: the bytes before it have arrived: an ack, or the right edge of a SACK block
 * @FRAMEMAP_LEFT: the bytes from it on have arrived: the left edge of a SACK block
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

// SPDX-License-Identifier: GPL-2.0-only
/*
 * The frame map of one connection; framemap.h explains it.
 */
#include "framemap.h"

/* Most connections never have more frames than that in flight. */
#define FIRST_CAPACITY 16u

/*
 * The longest accepted hole before a segment. A longer one would need too many frames at once, one
 * for each 64 KiB. A client that has lost so much resends it from the beginning of the hole.
 */
#define LONGEST_GAP 0x01000000u

/*
 * The largest window that TCP can express. Numbers that are farther from the ack, on either side,
 * are refused, so that all accepted numbers can be compared with each other.
 */
#define LONGEST_SPAN 0x40000000u

/*
 * A window of a few segments is not shrunk: if it had space for 8 bytes less than a segment, the
 * client would wait for its timer instead of sending. The headers may then exceed the server's
 * window; the server drops the excess, and the client sends it again.
 */
#define FEW_SEGMENTS 4u
#define SMALL_WINDOW 8192u

static bool seq_before(u32 a, u32 b)
{
	return (s32)(a - b) < 0;
}

static u32 frame_start(const struct framemap *map, u32 index)
{
	return map->start[(map->head + index) & (map->capacity - 1)];
}

static u32 frame_end(const struct framemap *map, u32 index)
{
	return index + 1 < map->count ? frame_start(map, index + 1) : map->max;
}

/* Server space: where the header of a frame in the map begins. */
static u32 header_position(const struct framemap *map, u32 index)
{
	return frame_start(map, index) + FRAMEMAP_HEADER * (map->pruned + index);
}

/* Server space: the end of the last frame. */
static u32 stream_end(const struct framemap *map)
{
	return map->max + FRAMEMAP_HEADER * (map->pruned + map->count);
}

/* The number of frames in the map whose header begins at @pos or before. */
static u32 headers_begun(const struct framemap *map, u32 pos)
{
	u32 low = 0, high = map->count;

	while (low < high) {
		u32 middle = (low + high) / 2;

		if (seq_before(pos, header_position(map, middle)))
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/**
 * framemap_init() - begin with an empty map
 * @map: the map; needs framemap_release() after a frame was committed
 * @seq: client space: the connection's first data byte
 * @limit: the highest allowed number of frames, FRAMEMAP_MOST if more. A segment may need several
 */
void framemap_init(struct framemap *map, u32 seq, u32 limit)
{
	*map = (struct framemap) {
		.una = seq,
		.raw = seq,
		.max = seq,
		.limit = limit < FRAMEMAP_MOST ? limit : FRAMEMAP_MOST,
		.mean8 = 8 * FRAMEMAP_LONGEST, /* shrinks no window, until there are frames */
	};
}

/**
 * framemap_release() - free the map's memory
 * @map: the map, which has no frames afterwards
 */
void framemap_release(struct framemap *map)
{
	framemap_free(map->account, map->start, framemap_size(map));
	map->start = NULL;
	map->capacity = 0;
	map->count = 0;
}

/**
 * framemap_size() - tell how much memory the map has allocated
 * @map: the map
 *
 * Return: bytes, without struct framemap itself.
 */
u32 framemap_size(const struct framemap *map)
{
	return map->capacity * sizeof(*map->start);
}

/* Makes sure that @frames more fit into the map. If that fails, the map is not changed. */
static int reserve(struct framemap *map, u32 frames)
{
	u32 needed = map->count + frames;
	u32 capacity = map->capacity ? map->capacity : FIRST_CAPACITY;
	u32 *start;
	u32 i;

	if (needed > map->limit)
		return -ENOBUFS;
	if (needed <= map->capacity)
		return 0;
	while (capacity < needed)
		capacity *= 2;
	start = framemap_alloc(map->account, capacity * sizeof(*start));
	if (!start)
		return -ENOMEM;
	for (i = 0; i < map->count; i++)
		start[i] = frame_start(map, i);
	framemap_free(map->account, map->start, framemap_size(map));
	map->start = start;
	map->head = 0;
	map->capacity = capacity;
	return 0;
}

static u32 frames_for(u32 len)
{
	return len / FRAMEMAP_LONGEST + !!(len % FRAMEMAP_LONGEST);
}

static bool is_near(const struct framemap *map, u32 seq)
{
	return seq - (map->una - LONGEST_SPAN) <= 2 * LONGEST_SPAN;
}

/* Puts the next @len bytes into frames. Caller has called reserve(). */
static void append(struct framemap *map, u32 len)
{
	while (len) {
		u32 part = len < FRAMEMAP_LONGEST ? len : FRAMEMAP_LONGEST;

		map->start[(map->head + map->count) & (map->capacity - 1)] = map->max;
		map->count++;
		map->max += part;
		len -= part;
	}
}

/* Updates the mean length of frames. @len: new bytes of a segment, without the gap before it. */
static void learn_length(struct framemap *map, u32 len)
{
	u32 part = len < FRAMEMAP_LONGEST ? len : FRAMEMAP_LONGEST;

	if (len)
		map->mean8 += part - map->mean8 / 8;
}

/**
 * framemap_commit() - put all bytes up to the end of a segment into frames
 * @map: the map
 * @seq: client space: the segment's first byte
 * @len: its payload bytes; 0 for a FIN alone
 *
 * Bytes that are in frames already stay in them. A gap before @seq comes from segments that were
 * lost or overtaken. It becomes a frame of its own at once: the segment's place in server space
 * depends on the headers before it. Do not call this for a bare ACK, which may be ahead of bytes
 * that are never sent.
 *
 * After an error the map is unchanged, and bytes below @max can still be sent. The caller should
 * send that part of a refused segment: a client may resend lost bytes only together with later
 * ones, and would be refused each time.
 *
 * Return: 0, or -ENOBUFS (too many frames), -ENOMEM, or -ERANGE (beyond the FIN, or too far away).
 */
int framemap_commit(struct framemap *map, u32 seq, u32 len)
{
	u32 end = seq + len;
	u32 gap = seq_before(map->max, seq) ? seq - map->max : 0;
	u32 fresh;
	int error;

	if (len > LONGEST_SPAN || !is_near(map, seq) || !is_near(map, end))
		return -ERANGE;
	/*
	 * After an acknowledged FIN una is max + 1. A keepalive probe with one byte ends there:
	 * beyond max, but old.
	 */
	if (!seq_before(map->max, end) || !seq_before(map->una, end))
		return 0;
	if (map->fin || gap > LONGEST_GAP)
		return -ERANGE;
	fresh = end - map->max - gap;
	error = reserve(map, frames_for(gap) + frames_for(fresh));
	if (error)
		return error;
	append(map, gap);
	append(map, fresh);
	learn_length(map, fresh);
	return 0;
}

/**
 * framemap_first() - find the frames that begin inside a segment
 * @map: the map
 * @seq: client space: the segment's first byte
 *
 * Return: index of the first frame in the map that starts at @seq or after; count if there is none.
 */
u32 framemap_first(const struct framemap *map, u32 seq)
{
	u32 low = 0, high = map->count;

	while (low < high) {
		u32 middle = (low + high) / 2;

		if (seq_before(frame_start(map, middle), seq))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/**
 * framemap_frame() - get one frame
 * @map: the map
 * @index: below count; 0 is the oldest frame in the map
 *
 * Return: the frame.
 */
struct frame framemap_frame(const struct framemap *map, u32 index)
{
	u32 start = frame_start(map, index);

	return (struct frame) { .seq = start, .len = frame_end(map, index) - start };
}

/**
 * framemap_forward() - translate a segment's sequence number for the server
 * @map: the map, to which the segment was committed
 * @seq: client space: the segment's first byte, or its FIN
 *
 * Return: server space: the number of that byte or, if a frame begins with it, of the header in
 * front of it.
 */
u32 framemap_forward(const struct framemap *map, u32 seq)
{
	return seq + FRAMEMAP_HEADER * (map->pruned + framemap_first(map, seq));
}

/**
 * framemap_bare() - translate the sequence number of a segment without payload and FIN
 * @map: the map
 * @seq: client space
 *
 * When the client is at una, the server may expect any byte of a header next, and it obeys a reset
 * only if that has exactly the expected number.
 *
 * Return: server space: the server's latest ack if @seq is una, else as framemap_forward().
 */
u32 framemap_bare(const struct framemap *map, u32 seq)
{
	return seq == map->una ? map->raw : framemap_forward(map, seq);
}

/**
 * framemap_reverse() - translate an ack or an edge of a SACK block for the client
 * @map: the map, before the ack of the same segment prunes it
 * @pos: server space
 * @edge: which end of a range @pos is
 *
 * A right edge inside a header says that the client's bytes before the frame have arrived. A left
 * edge inside a header, or at its end, says that part of the header is missing. Then the frame's
 * first byte must be reported as missing too: the header is sent only with that byte, and a client
 * does not resend a byte that it believes to have arrived.
 *
 * If the translated left edge of a block is not before its right edge, the block must be removed.
 * Only the SACK of a duplicate can point below the first frame in the map. There the result is
 * approximate, but it stays below that frame.
 *
 * Return: client space.
 */
u32 framemap_reverse(const struct framemap *map, u32 pos, enum framemap_edge edge)
{
	u32 begun = headers_begun(map, pos);
	u32 start, inside;

	if (!begun)
		return pos - FRAMEMAP_HEADER * map->pruned;
	start = frame_start(map, begun - 1);
	inside = pos - header_position(map, begun - 1);
	if (inside > FRAMEMAP_HEADER)
		return start + inside - FRAMEMAP_HEADER;
	return inside && edge == FRAMEMAP_LEFT ? start + 1 : start;
}

static void prune_first(struct framemap *map)
{
	map->head = (map->head + 1) & (map->capacity - 1);
	map->count--;
	map->pruned++;
}

/**
 * framemap_ack() - translate an ack for the client, and prune the frames that it covers
 * @map: the map
 * @ack: server space; its segment's checksum must have been verified
 *
 * An ack that is older than the latest one, or of bytes that were never sent, is translated and
 * does not change the map.
 *
 * Return: client space.
 */
u32 framemap_ack(struct framemap *map, u32 ack)
{
	u32 una = framemap_reverse(map, ack, FRAMEMAP_RIGHT);

	if (seq_before(ack, map->raw) || seq_before(stream_end(map) + map->fin, ack))
		return una;
	map->raw = ack;
	map->una = una;
	while (map->count && !seq_before(una, frame_end(map, 0)))
		prune_first(map);
	/* An idle connection gives back the memory that a burst has taken. */
	if (!map->count && map->capacity > FIRST_CAPACITY)
		framemap_release(map);
	return una;
}

/**
 * framemap_window() - translate the server's window for the client
 * @map: the map, before @ack prunes it
 * @ack: server space: the ack of the same segment
 * @window: bytes that the server takes after it, scaling applied
 *
 * The headers of frames in the window need space in it, too. For future frames their number is
 * estimated from the mean length. A window that is not 0 does not become 0: the server would not
 * know that the client waits for it to open.
 *
 * Return: number of bytes that the client may send after the translated ack, at most @window.
 */
u32 framemap_window(const struct framemap *map, u32 ack, u32 window)
{
	u32 end = stream_end(map);
	u32 right = ack + window;
	u32 mean = map->mean8 / 8;
	u32 beyond, headers;

	if (window < SMALL_WINDOW || window < FEW_SEGMENTS * mean || seq_before(end, ack))
		return window;
	if (seq_before(end, right)) {
		beyond = right - end;
		headers = beyond / (mean + FRAMEMAP_HEADER);
		right = map->max + beyond - FRAMEMAP_HEADER * headers;
	} else {
		right = framemap_reverse(map, right, FRAMEMAP_RIGHT);
	}
	return right - framemap_reverse(map, ack, FRAMEMAP_RIGHT);
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * The frame map of one connection; framemap.h has the picture and the rules.
 */
#include "framemap.h"

/* Most connections never have more frames in flight. */
#define FIRST_CAPACITY 16u

/*
 * A longer hole before a segment is not believed: it would cost one frame for each 64 KiB at once.
 * A client whose burst was lost on so large a scale resends from the beginning of the hole.
 */
#define LONGEST_GAP 0x01000000u

/*
 * The largest window that TCP can express. What lies farther from the ack, on either side, is not
 * believed: nearer numbers can be compared with each other, whatever the client sends.
 */
#define LONGEST_SPAN 0x40000000u

/*
 * A window of a few segments is not shrunk: a client that may send 8 bytes less than a segment
 * waits for its timer instead of sending. It may overshoot then, which the server takes for loss.
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

/* Server space: where the header of a kept frame begins. */
static u32 header_position(const struct framemap *map, u32 index)
{
	return frame_start(map, index) + FRAMEMAP_HEADER * (map->pruned + index);
}

/* Server space: the end of the last frame. */
static u32 stream_end(const struct framemap *map)
{
	return map->max + FRAMEMAP_HEADER * (map->pruned + map->count);
}

/* How many kept frames have a header that begins at @pos or before. */
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
 * @map: to be initialised; needs framemap_release() once a frame was committed
 * @seq: client-space number of the connection's first data byte
 * @limit: frames to be kept at most, FRAMEMAP_MOST if more. A single segment may need several.
 */
void framemap_init(struct framemap *map, u32 seq, u32 limit)
{
	*map = (struct framemap) {
		.una = seq,
		.raw = seq,
		.max = seq,
		.limit = limit < FRAMEMAP_MOST ? limit : FRAMEMAP_MOST,
		.mean8 = 8 * FRAMEMAP_LONGEST, /* until more is known, no window is shrunk */
	};
}

/**
 * framemap_release() - free the map's memory
 * @map: keeps no frame afterwards
 */
void framemap_release(struct framemap *map)
{
	framemap_free(map->start, framemap_size(map));
	map->start = NULL;
	map->capacity = 0;
	map->count = 0;
}

/**
 * framemap_size() - how much memory the map has allocated
 * @map: the map
 *
 * Return: bytes, without struct framemap itself.
 */
u32 framemap_size(const struct framemap *map)
{
	return map->capacity * sizeof(*map->start);
}

/* Make room for @frames more, or fail and change nothing. */
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
	start = framemap_alloc(capacity * sizeof(*start));
	if (!start)
		return -ENOMEM;
	for (i = 0; i < map->count; i++)
		start[i] = frame_start(map, i);
	framemap_free(map->start, framemap_size(map));
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

/* Put the next @len bytes into frames, for which there is room. */
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

/* A gap is made of several segments, so only what a segment brings tells how long frames are. */
static void learn_length(struct framemap *map, u32 len)
{
	u32 part = len < FRAMEMAP_LONGEST ? len : FRAMEMAP_LONGEST;

	if (len)
		map->mean8 += part - map->mean8 / 8;
}

/**
 * framemap_commit() - put into frames all that is not in one yet, up to the end of a segment
 * @map: the map
 * @seq: client space: the segment's first byte
 * @len: its payload bytes; 0 for a FIN alone
 *
 * A gap before @seq is segments that were lost or overtaken. It becomes a frame of its own at once,
 * since its length is known, and without it the segment's place in server space would not be. Not
 * for a bare ACK: that would make frames of what may never be sent.
 *
 * After an error the map is as it was before, and what lies below @max can still be sent. A caller
 * that is refused should send that part of the segment on: a client that resends lost bytes joined
 * with later ones does so again and again, and would never be heard.
 *
 * Return: 0, or -ENOBUFS (there would be too many frames), -ENOMEM, or -ERANGE (beyond the FIN, or
 * too far away to be true).
 */
int framemap_commit(struct framemap *map, u32 seq, u32 len)
{
	u32 end = seq + len;
	u32 gap = seq_before(map->max, seq) ? seq - map->max : 0;
	u32 fresh;
	int error;

	if (len > LONGEST_SPAN || !is_near(map, seq) || !is_near(map, end))
		return -ERANGE;
	/* A keepalive may bring a byte that is older than una: after a FIN, that is beyond max. */
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
 * Return: index of the first kept frame that starts at @seq or after; count when there is none.
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
 * framemap_frame() - look at one frame
 * @map: the map
 * @index: 0 for the oldest that is kept, below count
 *
 * Return: what the frame's header says.
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
 * Return: server space: the place of that byte or, when a frame begins with it, of the header that
 * belongs in front.
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
 * At the client's una the server may stand anywhere in a header, and heeds a reset at its exact
 * number only.
 *
 * Return: server space: what the server acknowledged when @seq is una, else as framemap_forward().
 */
u32 framemap_bare(const struct framemap *map, u32 seq)
{
	return seq == map->una ? map->raw : framemap_forward(map, seq);
}

/**
 * framemap_reverse() - translate a number of the server's for the client
 * @map: the map, before the ack of the same segment prunes it
 * @pos: server space
 * @edge: what it stands for
 *
 * A right edge in a header says that the client's bytes before the frame have arrived. A left edge
 * there, or at the header's end, says that part of the header is missing. Then the frame's first
 * byte must count as missing too, arrived or not: a client does not resend what it believes to have
 * arrived, and the header travels with that byte.
 *
 * A block of which nothing remains (its left edge is not before its right one) must not be passed
 * on. Below the first kept frame, where only the SACK of a duplicate can point, the result is
 * approximate, and below it as well.
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
 * framemap_ack() - translate an ack for the client, and forget what it covers
 * @map: the map
 * @ack: server space; its segment's checksum must have been verified
 *
 * An ack that is older than the last, or of what was never sent, is translated and changes nothing.
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
	/* A connection that is idle keeps nothing of what a burst took. */
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
 * The headers of the frames in the window need room as well, and so will those of frames to come,
 * of which the mean length is known. A window that is not 0 never becomes 0: the server would not
 * know that the client waits for it to open.
 *
 * Return: bytes that the client may send after the translated ack, at most @window.
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

# SPDX-License-Identifier: MIT
"""The server of the tests: a TCP that keeps bytes and ranges, and a reader of frames.

Positions count from the first byte of the stream that the server receives. The server knows only
what has arrived; it does not know the frame map, the client, or what was sent.
"""

from __future__ import annotations

import re
from bisect import bisect_right

DESTINATION = bytes((93, 184, 216, 34)) + (80).to_bytes(2, "little")
HEADER = len(DESTINATION) + 2

MISSING, BYTE, FIN = range(3)
_RANGE = re.compile(rb"[^\0]+")

Range = tuple[int, int]
"""First position, and the one after the last."""


class Receiver:
    """Keeps bytes that arrive within its window, acknowledges them, and reports ranges by SACK.

    Raises AssertionError when two different bytes arrive for one position that is not acknowledged.
    """

    def __init__(self, size: int, buffer: int) -> None:
        """`size`: positions are below. `buffer`: bytes that may wait for the application."""
        self.data = bytearray(size)
        self.kinds = bytearray(size)
        self.next = 0
        """The ack: all bytes before that position have arrived."""
        self.fin: int | None = None
        self._buffer = buffer
        self._read = 0
        self._edge = buffer
        self._latest = 0
        self._high = 0
        self._duplicate: Range | None = None

    def arrive(self, position: int, data: bytes, fin: bool) -> None:
        end = position + len(data)
        low, high = max(position, self.next), min(end, self._edge)
        self._note_duplicate(position, end)
        if low < high:
            new = data[low - position : high - position]
            if any(self.kinds[low:high]):
                self._compare(low, new)
            self.data[low:high] = new
            self.kinds[low:high] = bytes([BYTE]) * len(new)
            self._latest = low
        if fin and self.next <= end < self._edge:
            assert self.kinds[end] in (MISSING, FIN), f"a FIN came where a byte had come: {end}"
            self.kinds[end], self.fin, self._latest = FIN, end, end
        self.next = self.kinds.find(MISSING, self.next)
        self._high = max(self._high, min(end + fin, self._edge))

    def _note_duplicate(self, position: int, end: int) -> None:
        if position < min(end, self.next):
            self._duplicate = (position, min(end, self.next))
        elif position < end and MISSING not in self.kinds[position:end]:
            self._duplicate = (position, end)

    def _compare(self, at: int, new: bytes) -> None:
        for i, (kind, byte) in enumerate(zip(self.kinds[at : at + len(new)], new, strict=True), at):
            assert kind != FIN, f"a byte came where the FIN had come: {i}"
            assert kind == MISSING or self.data[i] == byte, f"two different bytes came at {i}"

    @property
    def beyond(self) -> list[Range]:
        """The ranges that have arrived beyond the first hole."""
        return [found.span() for found in _RANGE.finditer(self.kinds, self.next, self._high)]

    @property
    def stream(self) -> bytes:
        """The bytes before the first hole."""
        return bytes(self.data[: self.end(self.next)])

    def end(self, position: int) -> int:
        """`position`, or that of the FIN if it is lower."""
        return position if self.fin is None else min(position, self.fin)

    def consume(self, count: int) -> None:
        """The application reads."""
        self._read = min(self._read + count, self.end(self.next))

    def reply(self) -> tuple[int, int, list[Range]]:
        """Ack, window, SACK blocks: first that of a duplicate, then the range that grew last."""
        self._edge = max(self._edge, self._read + self._buffer)
        ranges = self.beyond
        ranges.sort(key=lambda found: not found[0] <= self._latest < found[1])
        duplicate, self._duplicate = self._duplicate, None
        blocks = ([duplicate] if duplicate else []) + ranges
        return self.next, max(0, self._edge - self.next), blocks[:4]


class Frames:
    """Reads frames from the beginning of a stream, and so knows where each payload byte is.

    Raises AssertionError when there is no valid header where one must be.
    """

    def __init__(self) -> None:
        self.headers: list[int] = []
        self.starts: list[int] = []
        self.next = 0
        """The next header's position."""
        self.total = 0
        """Payload bytes, those of an incomplete last frame included."""
        self.fin: int | None = None
        """The position of the FIN, if it is known. The FIN counts like a byte of payload."""

    def read(self, stream: bytes | bytearray) -> None:
        """`stream` begins at position 0 and only grows from call to call."""
        while self.next + HEADER <= len(stream):
            header = stream[self.next : self.next + HEADER]
            assert header[:-2] == DESTINATION, f"no header at {self.next}: {bytes(header)!r}"
            length = int.from_bytes(header[-2:], "little")
            assert length, f"an empty frame at {self.next}"
            self.headers.append(self.next)
            self.starts.append(self.total)
            self.total += length
            self.next += HEADER + length

    def complete(self, position: int) -> int:
        """How many payload bytes are before a position. The position has been read, or is negative;
        negative numbers are the same in both spaces.
        """
        if position < 0:
            return position
        if position >= self.next:
            assert position < self.next + HEADER
            return self.total + (self.fin is not None and position > self.fin)
        frame = bisect_right(self.headers, position) - 1
        return self.starts[frame] + max(0, position - self.headers[frame] - HEADER)

    def believable(self, left: int, right: int) -> Range | None:
        """The payload of the range [left, right), without a first byte whose header is incomplete.

        Only a frame's first byte counts as missing with its header: both are sent again together.
        """
        first, last = self.complete(left), self.complete(right)
        frame = bisect_right(self.starts, first) - 1
        if self.starts[frame : frame + 1] == [first] and self.headers[frame] < left:
            first += 1
        return (first, last) if first < last else None

    def payload_of(self, stream: bytes) -> bytes:
        ends = zip(self.headers, [*self.headers[1:], self.next], strict=True)
        return b"".join(stream[header + HEADER : end] for header, end in ends)

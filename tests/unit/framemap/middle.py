# SPDX-License-Identifier: MIT
"""What the module does with the frame map: segments get their headers, replies are translated.

`ctframe.c` does the same with packets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .library import LEFT, MODULO, RIGHT, FrameMap
from .server import DESTINATION, Range


@dataclass(frozen=True)
class Segment:
    """Of the client's. `seq` modulo 2^32."""

    seq: int
    data: bytes
    fin: bool


@dataclass(frozen=True)
class Reply:
    """A segment of the server's. `ack` and `blocks` modulo 2^32; None is a block taken out."""

    ack: int
    window: int
    blocks: tuple[Range | None, ...]


def near(number: int, around: int) -> int:
    """The integer next to `around` that is `number` modulo 2^32."""
    return around + (number - around + MODULO // 2) % MODULO - MODULO // 2


class Middle:
    def __init__(self, frames: FrameMap) -> None:
        self.map = frames

    def forward(self, segment: Segment) -> tuple[Segment, int] | None:
        """With its headers, and its number in server space; None when it is dropped.

        Of a segment that does not get into the map, what is known already goes on: the second value
        says how many bytes, with the FIN, did.
        """
        if not segment.data and not segment.fin:
            return replace(segment, seq=self.map.bare(segment.seq)), 0
        why = self.map.commit(segment.seq, len(segment.data))
        if why:
            known = near(self.map.max, segment.seq) - segment.seq
            if why == "ERANGE" or known <= 0:
                return None
            segment = Segment(segment.seq, segment.data[:known], fin=False)
        elif segment.fin:
            self.map.fin = True
        sent = Segment(self.map.forward(segment.seq), self._framed(segment), segment.fin)
        return sent, len(segment.data) + segment.fin

    def _framed(self, segment: Segment) -> bytes:
        parts, done = [], 0
        for index in range(self.map.first(segment.seq), self.map.count):
            seq, length = self.map.frame(index)
            offset = near(seq, segment.seq) - segment.seq
            if offset >= len(segment.data):
                break
            parts += segment.data[done:offset], DESTINATION, length.to_bytes(2, "little")
            done = offset
        return b"".join([*parts, segment.data[done:]])

    def reply(self, reply: Reply) -> Reply:
        """The ack comes last: it prunes."""
        window = self.map.window(reply.ack, reply.window)
        blocks = tuple(self._block(block) for block in reply.blocks)
        return Reply(self.map.ack(reply.ack), window, blocks)

    def _block(self, block: Range | None) -> Range | None:
        if block is None:
            return None
        left, right = self.map.reverse(block[0], LEFT), self.map.reverse(block[1], RIGHT)
        return (left, right) if near(right, left) > left else None

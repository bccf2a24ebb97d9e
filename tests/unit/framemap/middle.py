# SPDX-License-Identifier: MIT
"""Does with segments what `ctframe.c` does with packets, by means of the frame map: it inserts
headers, and translates replies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .library import LEFT, MODULO, RIGHT, FrameMap
from .server import DESTINATION, Range


@dataclass(frozen=True)
class Segment:
    """A segment of the client. `seq` is modulo 2^32."""

    seq: int
    data: bytes
    fin: bool


@dataclass(frozen=True)
class Reply:
    """A reply of the server. `ack` and `blocks` are modulo 2^32; None is a removed block."""

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
        """The segment with headers and with its number in server space; None when it is dropped.

        The second value says how many bytes of the client, with the FIN, it has. If the map refuses
        the new bytes of a segment, the older ones are still sent.
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
        """The reply for the client. The ack is translated last, because it prunes."""
        window = self.map.window(reply.ack, reply.window)
        blocks = tuple(self._block(block) for block in reply.blocks)
        return Reply(self.map.ack(reply.ack), window, blocks)

    def _block(self, block: Range | None) -> Range | None:
        if block is None:
            return None
        left, right = self.map.reverse(block[0], LEFT), self.map.reverse(block[1], RIGHT)
        return (left, right) if near(right, left) > left else None

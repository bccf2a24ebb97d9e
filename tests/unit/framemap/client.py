# SPDX-License-Identifier: MIT
"""The client's TCP. It sends with any boundaries in any order, and reads replies strictly.

It believes every SACK until its timer expires, and does not resend bytes that have arrived
according to a SACK. It sends nothing beyond its window. Positions count from the first byte of its
stream; the FIN has the position after the last byte.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Burst:
    """A segment with a position instead of a sequence number."""

    at: int
    data: bytes
    fin: bool = False


class Client:
    """Raises AssertionError when it is told of bytes that it has never sent."""

    def __init__(self, payload: bytes, window: int) -> None:
        self.payload = payload
        self.una = 0
        self.nxt = 0
        self.edge = window
        """The end of the window: it may send bytes before that position."""
        self._arrived = bytearray(len(payload) + 1)

    @property
    def total(self) -> int:
        return len(self.payload)

    @property
    def done(self) -> bool:
        return self.una == self.total + 1

    def fresh(self, size: int, fin: bool = False) -> Burst | None:
        """New bytes within the window; with the FIN if it is wanted and all bytes are sent."""
        end = min(self.nxt + size, self.total, self.edge)
        fin = fin and end == self.total < self.edge
        if self.nxt > self.total or (end <= self.nxt and not fin):
            return None
        burst = Burst(self.nxt, self.payload[self.nxt : end], fin)
        self.nxt = end + fin
        return burst

    def again(self, skip: int, size: int) -> Burst | None:
        """The first bytes that were sent and have not arrived, at una + `skip` or later."""
        at = self._arrived.find(0, self.una + skip, min(self.nxt, self.edge))
        if at < 0:
            return None
        end = self._arrived.find(1, at, self.nxt)
        end = min(end if end >= 0 else self.nxt, at + size, self.edge)
        return Burst(at, self.payload[at:end], fin=end == self.total + 1)

    def bare(self, at_una: bool) -> Burst:
        """A segment without data: an ack, or a reset, which has the same number."""
        return Burst(self.una if at_una else self.nxt, b"")

    def keepalive(self, garbage: bool) -> Burst:
        """A keepalive probe: its number is one too low. Old stacks send a byte of garbage."""
        return Burst(self.una - 1, b"\xee" * garbage)

    def timeout(self) -> None:
        """The timer expires: from now on the client does not rely on former SACKs."""
        self._arrived = bytearray(len(self._arrived))

    def hear(self, ack: int, window: int, blocks: tuple[tuple[int, int], ...]) -> None:
        assert ack <= self.nxt, f"{ack} was acknowledged, but {self.nxt} not sent"
        if ack >= self.una:
            self.una = ack
            self.edge = ack + window
        for left, right in blocks:
            assert right <= self.nxt, f"up to {right} was SACKed, but {self.nxt} not sent"
            left = max(left, self.una)
            if left < right:
                self._arrived[left:right] = b"\1" * (right - left)

# SPDX-License-Identifier: MIT
"""The client's TCP: any boundaries, any order, and a strict reading of what it is told.

It believes every SACK until its timer goes off: what it thinks has arrived is not sent again. It
sends nothing beyond its window. Positions count from the first byte of its stream; the FIN has the
one after the last.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Burst:
    """A segment whose position is not a sequence number yet."""

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
        """It may send what lies before."""
        self._arrived = bytearray(len(payload) + 1)

    @property
    def total(self) -> int:
        return len(self.payload)

    @property
    def done(self) -> bool:
        return self.una == self.total + 1

    def fresh(self, size: int, fin: bool = False) -> Burst | None:
        """New bytes, as many as the window lets through, and the FIN when it is the turn of it."""
        end = min(self.nxt + size, self.total, self.edge)
        fin = fin and end == self.total < self.edge
        if self.nxt > self.total or (end <= self.nxt and not fin):
            return None
        burst = Burst(self.nxt, self.payload[self.nxt : end], fin)
        self.nxt = end + fin
        return burst

    def again(self, skip: int, size: int) -> Burst | None:
        """Some of what was sent and has not arrived, from `skip` bytes after una or later on."""
        at = self._arrived.find(0, self.una + skip, min(self.nxt, self.edge))
        if at < 0:
            return None
        end = self._arrived.find(1, at, self.nxt)
        end = min(end if end >= 0 else self.nxt, at + size, self.edge)
        return Burst(at, self.payload[at:end], fin=end == self.total + 1)

    def bare(self, at_una: bool) -> Burst:
        """Without data: an ack, or a reset that answers one and so has its number."""
        return Burst(self.una if at_una else self.nxt, b"")

    def keepalive(self, garbage: bool) -> Burst:
        """One byte too low, to be answered; with a byte of garbage as old stacks do it."""
        return Burst(self.una - 1, b"\xee" * garbage)

    def timeout(self) -> None:
        """The timer goes off: what was SACKed may have been discarded."""
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

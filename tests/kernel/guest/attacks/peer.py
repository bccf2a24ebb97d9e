# SPDX-License-Identifier: MIT
"""The attacker's endpoint of one connection. It sends anything, and records it and the replies.

Numbers are the client's. `at` counts from the first byte of the stream: 0 is where an honest
client's data begins, and the injector's header has [-H, 0) of the server's numbers. `ack` counts
from the first byte of the server's stream.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.kernel.guest.places import PORT, Address, Place

from .segment import Segment
from .wire import AttackWire


class Peer:
    """A port of the attacker, and the original destination that it dials."""

    def __init__(self, wire: AttackWire, place: Place, port: int, isn: int) -> None:
        self._wire = wire
        self.source: Address = (wire.address, port)
        self.original: Address = place.original(port)
        self.listener: Address = (place.target, PORT)
        self.isn = isn
        """The last SYN's; `at` counts from it."""
        self.isns: list[int] = []
        """The ISNs of all SYNs."""
        self.synack: Segment | None = None
        """The last one; `ack` counts from its number."""
        self.sent: list[Segment] = []
        """All sent segments but SYNs."""
        self.replies: list[Segment] = []
        """All received segments but those that it had sent itself in the server's name."""
        self._spoofed: set[tuple[int, int, str]] = set()

    @property
    def first(self) -> int:
        """The number of the stream's first byte."""
        return self.isn + 1

    @property
    def server(self) -> int:
        """The number of the first byte of the server's stream."""
        return self.synack.seq + 1 if self.synack else 0

    def take(self, segment: Segment) -> None:
        """Records a segment from the wire."""
        if (segment.seq, segment.ack, segment.flags) in self._spoofed:
            return
        self.replies.append(segment)
        if "S" in segment.flags and "A" in segment.flags:
            self.synack = segment

    def syn(self, isn: int | None = None, **fields: Any) -> None:
        """Sends a SYN; `at` counts from its ISN afterwards."""
        self.isn = (self.isn if isn is None else isn) % 2**32
        self.isns.append(self.isn)
        fields = {"flags": "S", "seq": self.isn, **fields}
        self._wire.send(Segment(self.source, self.original, **fields).packet())

    def send(
        self, at: int = 0, data: bytes = b"", flags: str = "A", ack: int = 0, **fields: Any
    ) -> None:
        """Sends `data` from `at` bytes after our first; `ack` counts from the server's first."""
        self._wire.send(self.segment(at, data, flags, ack, **fields).packet())

    def segment(
        self, at: int = 0, data: bytes = b"", flags: str = "A", ack: int = 0, **fields: Any
    ) -> Segment:
        """The segment of `send`, recorded as sent, but not sent."""
        seq, acked = (self.first + at) % 2**32, (self.server + ack) % 2**32
        made = Segment(self.source, self.original, flags, seq, acked, data, **fields)
        self.sent.append(made)
        if "S" in flags and "A" not in flags:
            self.isns.append(seq)
        return made

    def send_raw(self, *packets: bytes) -> None:
        """Sends whole packets."""
        self._wire.send(*packets)

    def spoof(
        self, at: int = 0, data: bytes = b"", flags: str = "A", ack: int = 0, **fields: Any
    ) -> None:
        """Sends a segment in the server's name, with the roles of `at` and `ack` exchanged."""
        mine = self.segment(ack, b"", flags, at)
        self.sent.pop()
        swapped = replace(
            mine,
            source=self.listener,
            destination=self.source,
            seq=mine.ack,
            ack=mine.seq,
            data=data,
        )
        made = replace(swapped, **fields)
        self._spoofed.add((made.seq, made.ack, made.flags))
        self._wire.send(made.packet())

    def replied(self, flags: str) -> list[Segment]:
        """The replies that have all of these flags."""
        return [reply for reply in self.replies if set(flags) <= set(reply.flags)]

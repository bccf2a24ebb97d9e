# SPDX-License-Identifier: MIT
"""Says what is wrong with what the middle has made of a connection.

It knows the bytes that the server has, and reads them as frames; the map is not asked. Acks and
windows are judged at once. What concerns places that the server could not read yet is judged when
the whole stream has arrived.
"""

from __future__ import annotations

from dataclasses import dataclass

from ctwsgi.wire.ctframe import FrameDecoder

from .server import Frames, Range, Receiver

SMALL_WINDOW = 8192
"""Bytes: below, a window is passed on as it is."""


@dataclass(frozen=True)
class _Emission:
    """Bytes that left for the server, and what the server had acknowledged then."""

    position: int
    data: bytes
    fin: bool
    acknowledged: int


@dataclass(frozen=True)
class _Claim:
    """A SACK block, and what the client was told of it. `current`: not older than the last ack."""

    block: Range
    told: Range | None
    una: int
    current: bool


class Judge:
    """Every method raises AssertionError when something is wrong."""

    def __init__(self, server: Receiver) -> None:
        self._server = server
        self._frames = Frames()
        self._raw = 0
        """The highest ack so far, and what it is in client space."""
        self._una = 0
        self._known = 0
        """The client's bytes before it have passed, or frames were made of them."""
        self._emissions: list[_Emission] = []
        self._claims: list[_Claim] = []
        self._bare: list[Range] = []

    def read(self) -> None:
        """Something has arrived at the server."""
        server = self._server
        if server.next > self._frames.next:
            self._frames.read(server.stream)
        if server.fin is not None and server.next > server.fin:
            self._frames.fin = server.fin

    @property
    def complete(self) -> int:
        """How many of the client's bytes, or its FIN as well, have arrived without a hole."""
        return self._frames.complete(self._server.next)

    def passed(self, end: int, position: int, data: bytes, fin: bool) -> None:
        """A segment leaves for the server, with the client's bytes up to `end`."""
        self._known = max(self._known, end)
        self._emissions.append(_Emission(position, data, fin, self._server.next))

    def dropped(self, end: int) -> None:
        """Of a segment that would have reached up to `end`, nothing leaves."""
        assert end > self._known, "what brings nothing new has to be answered nevertheless"

    def bare(self, seq: int, position: int) -> None:
        """A segment without data leaves for the server."""
        if seq == self._una:
            assert position == self._raw, "at una the number must be the server's own"
        elif seq < self._una:
            assert position <= self._raw
        elif seq <= self._known:
            self._bare.append((seq, position))

    def reply(
        self,
        ack: int,
        window: int,
        blocks: tuple[Range, ...],
        told_ack: int,
        told_window: int,
        told_blocks: tuple[Range | None, ...],
    ) -> None:
        """A reply passes, and the client is told..."""
        expected = self._frames.complete(ack)
        current = ack >= self._raw
        assert told_ack == expected if current else told_ack <= expected, (
            f"{ack} was translated to {told_ack}, but means {expected}"
        )
        assert (told_window > 0) == (window > 0), f"a window of {window} became {told_window}"
        assert told_window <= window
        assert told_window == window or window >= SMALL_WINDOW
        for block, told in zip(blocks, told_blocks, strict=True):
            self._claims.append(_Claim(block, told, self._una, block[0] >= self._raw))
        if current:
            self._raw, self._una = ack, expected

    def verdict(self, payload: bytes) -> None:
        """All has arrived: so all of it can be judged."""
        stream = self._server.stream
        decoder = FrameDecoder()
        assert self._frames.next == len(stream), "the last frame has another end"
        assert self._frames.payload_of(stream) == payload
        assert decoder.feed(stream) == payload
        decoder.eof()
        for emission in self._emissions:
            self._judge_emission(emission, stream)
        for claim in self._claims:
            self._judge_claim(claim)
        for seq, position in self._bare:
            assert self._frames.complete(position) == seq

    @staticmethod
    def _judge_emission(emission: _Emission, stream: bytes) -> None:
        """Nothing but the stream went where the server could still have taken it."""
        skip = max(0, emission.acknowledged - emission.position)
        at, end = emission.position + skip, emission.position + len(emission.data)
        data = emission.data[skip:]
        assert stream[at:end] == data if at < end else not data, f"{data!r} went to {at}"
        if emission.fin and end >= emission.acknowledged:
            assert end == len(stream), f"a FIN went to {end}"

    def _judge_claim(self, claim: _Claim) -> None:
        expected = self._frames.believable(*claim.block)
        if claim.current:
            assert claim.told == expected, (
                f"{claim.block} was translated to {claim.told}, but means {expected}"
            )
        elif claim.told and claim.told[1] > claim.una:
            left, right = max(claim.told[0], claim.una), claim.told[1]
            assert expected
            assert expected[0] <= left
            assert right <= expected[1]

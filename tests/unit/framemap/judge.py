# SPDX-License-Identifier: MIT
"""Judges what the middle has done with a connection.

The judge reads the server's bytes as frames, and does not ask the map. It judges acks and windows
at once, and segments and SACK blocks when the whole stream has arrived and can be read.
"""

from __future__ import annotations

from dataclasses import dataclass

from ctwsgi.wire.ctframe import FrameDecoder

from .server import Frames, Range, Receiver

SMALL_WINDOW = 8192
"""In bytes. A smaller window is passed on unchanged."""


@dataclass(frozen=True)
class _Emission:
    """Bytes that left for the server, and the server's ack at that time."""

    position: int
    data: bytes
    fin: bool
    acknowledged: int


@dataclass(frozen=True)
class _Claim:
    """A SACK block, and its translation. `current`: it is not below the latest ack."""

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
        """The highest ack so far; _una is the same in client space."""
        self._una = 0
        self._known = 0
        """The end of the client's bytes that have passed, or are in frames."""
        self._emissions: list[_Emission] = []
        self._claims: list[_Claim] = []
        self._bare: list[Range] = []

    def read(self) -> None:
        """Reads what has arrived at the server."""
        server = self._server
        if server.next > self._frames.next:
            self._frames.read(server.stream)
        if server.fin is not None and server.next > server.fin:
            self._frames.fin = server.fin

    @property
    def complete(self) -> int:
        """How many bytes of the client have arrived without a hole. The FIN counts as one."""
        return self._frames.complete(self._server.next)

    def passed(self, end: int, position: int, data: bytes, fin: bool) -> None:
        """A segment leaves for the server, with the client's bytes up to `end`."""
        self._known = max(self._known, end)
        self._emissions.append(_Emission(position, data, fin, self._server.next))

    def dropped(self, end: int) -> None:
        """A segment that ends at `end` is dropped."""
        assert end > self._known, (
            "a segment without new bytes was dropped, but the server must answer it"
        )

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
        """A reply passes. `told_` are the values that the client gets."""
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
        """Judges everything that waits for the whole stream, which has arrived."""
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
        """Bytes that the server had not acknowledged must be those of the stream."""
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

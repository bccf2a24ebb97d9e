# SPDX-License-Identifier: MIT
"""Removes from a connection's stream what the injector added, with the project's own codecs.

`feed` returns the payload. `peek` says whether the first bytes of the stream are enough for a
receiver that looks only once, as nginx and haproxy do.
"""

from __future__ import annotations

from ctwsgi.wire import proxy
from ctwsgi.wire.auth import KeyRing
from ctwsgi.wire.ctframe import FrameDecoder
from ctwsgi.wire.header import Command, Header

from .places import Address


class Decoder:
    """For a stream without an origin. The base of the others."""

    destination: Address | None = None
    """The original destination, or None as long as it is unknown."""
    source: Address | None = None
    """The client, when the format has it, or None as long as it is unknown."""
    peeks = False
    """The first read must return a whole header."""

    def feed(self, data: bytes) -> bytes:
        """The payload in `data`. OriginError when the stream is wrong."""
        return data

    def peek(self, data: bytes) -> bool:
        """Whether `data`, the first bytes of the stream, hold a whole header."""
        return True

    def eof(self) -> None:
        """The stream ended. OriginError when it ended within a frame or header."""


class CtframeDecoder(Decoder):
    """Frames, which must all have the same destination."""

    def __init__(self) -> None:
        self._frames = FrameDecoder()

    @property
    def destination(self) -> Address | None:  # type: ignore[override]
        """The first frame's destination. The codec refuses another one."""
        return self._frames.destination

    def feed(self, data: bytes) -> bytes:
        return self._frames.feed(data)

    def eof(self) -> None:
        self._frames.eof()


class ProxyDecoder(Decoder):
    """One v2 header at the start. A second one is payload, which then has the wrong hash."""

    peeks = True

    def __init__(self, keys: KeyRing | None = None) -> None:
        self._keys = keys
        self._start: bytes | None = b""
        self.header: Header | None = None

    def feed(self, data: bytes) -> bytes:
        if self._start is None:
            return data
        self._start += data
        found = proxy.decode(self._start, versions=(2,), keys=self._keys)
        if found is None:
            return b""
        self.header, size = found
        if self.header.command is Command.PROXY:
            self.source, self.destination = self.header.src, self.header.dst
        rest, self._start = self._start[size:], None
        return rest

    def peek(self, data: bytes) -> bool:
        return proxy.decode(data, versions=(2,), keys=self._keys) is not None

    def eof(self) -> None:
        """A header is required even without payload."""
        if self._start is not None:
            raise EOFError(f"the stream ended without a header, after {self._start!r}")

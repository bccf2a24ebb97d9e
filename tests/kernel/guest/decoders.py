# SPDX-License-Identifier: MIT
"""Takes out of a connection's stream what the injector has put in, by the project's own codecs.

`feed` gives the payload; `whole_header` is how many bytes a receiver that looks only once, as nginx
and haproxy do, must find in its first look.
"""

from __future__ import annotations

from ctwsgi.wire import proxy
from ctwsgi.wire.auth import KeyRing
from ctwsgi.wire.ctframe import FrameDecoder
from ctwsgi.wire.header import Command, Header

from .places import Address


class Decoder:
    """Nothing was put in. Base of the others."""

    destination: Address | None = None
    """The original destination, once it is known."""
    source: Address | None = None
    """The client, once it is known, where the format tells it."""
    peeks = False
    """The first look at the stream must show a whole header."""

    def feed(self, data: bytes) -> bytes:
        """The payload in `data`. OriginError for what cannot be."""
        return data

    def peek(self, data: bytes) -> bool:
        """Whether `data`, the first bytes of the stream, are enough for a single look."""
        return True

    def eof(self) -> None:
        """The stream ended; OriginError when it ended inside what was put in."""


class CtframeDecoder(Decoder):
    """Frames; each must name the same destination."""

    def __init__(self) -> None:
        self._frames = FrameDecoder()

    @property
    def destination(self) -> Address | None:  # type: ignore[override]
        """Of the first frame; the codec refuses another one."""
        return self._frames.destination

    def feed(self, data: bytes) -> bytes:
        """See Decoder."""
        return self._frames.feed(data)

    def eof(self) -> None:
        """See Decoder."""
        self._frames.eof()


class ProxyDecoder(Decoder):
    """One v2 header at the start. A second one would be payload, and wrong as such."""

    peeks = True

    def __init__(self, keys: KeyRing | None = None) -> None:
        self._keys = keys
        self._start: bytes | None = b""
        self.header: Header | None = None

    def feed(self, data: bytes) -> bytes:
        """See Decoder."""
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
        """See Decoder."""
        return proxy.decode(data, versions=(2,), keys=self._keys) is not None

    def eof(self) -> None:
        """A header is required even where no payload follows."""
        if self._start is not None:
            raise EOFError(f"the stream ended without a header, after {self._start!r}")

# SPDX-License-Identifier: MIT
"""How a connection learns its origin: one small class per source.

`accept()` runs once per connection, before a byte is read. It returns the Origin when the kernel
knows it, or an OriginStage that takes it out of the first bytes. When the configured source cannot
tell the origin, that is an OriginError; there is no guess and no silent fallback
(docs/threat-model.md).
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any, Protocol

from .errors import OriginError, Reason
from .linux import normal_address, original_destination
from .origin import Address, Origin
from .trust import Trust, show_listener
from .wire import proxy
from .wire.auth import KeyRing
from .wire.ctframe import FrameDecoder

IPV6_TRANSPARENT = 75  # linux/in6.h; the socket module names only IP_TRANSPARENT, and not in 3.10
IP_TRANSPARENT = 19  # linux/in.h


class OriginStage(Protocol):
    """Removes the origin's bytes from what was received, before the HTTP parser gets it."""

    origin: Origin | None
    """None until it is complete."""
    done: bool
    """True when the rest of the stream is payload and needs no strip()."""

    def strip(self, buffer: bytearray, size: int) -> int:
        """Moves the payload in buffer[:size], which was just received, to the front.

        Returns the payload's length.
        """

    def eof(self) -> None:
        """The peer has finished sending. OriginError when the format does not allow an end here."""


class Source:
    """Base of all sources. `name` is what `ct.source` shows."""

    name = "none"

    def check(self, sockname: Any) -> None:
        """Raises ValueError, with what to do, when a listener at `sockname` must not start."""

    def prepare(self, sock: socket.socket) -> None:
        """Sets up the listening socket. Called before the process drops its privileges."""

    def accept(
        self, sock: Any, peer: Address | None, bound: Address | None
    ) -> Origin | OriginStage:
        """`bound` is the listener's own address, None for a unix socket."""
        return Origin("none", orig_src=peer)


class CtframeSource(Source):
    """A ctframe header in front of each segment (docs/wire-formats.md#ctframe-stream-tcp-ipv4)."""

    name = "ctframe"

    def __init__(self, trust: Trust, signed: bool = False) -> None:
        self._trust = trust
        self._signed = signed

    def check(self, sockname: Any) -> None:
        self._trust.check(self.name, sockname, signed=self._signed, signable=False)

    def accept(self, sock: Any, peer: Address | None, bound: Address | None) -> OriginStage:
        self._trust.admit(peer)
        return FrameStage(peer)


class FrameStage:
    """Strips frame headers until the connection ends."""

    __slots__ = ("_decoder", "_peer", "eof", "origin")
    done = False

    def __init__(self, peer: Address | None) -> None:
        self._peer = peer
        self._decoder = FrameDecoder()
        self.eof = self._decoder.eof
        self.origin: Origin | None = None

    def strip(self, buffer: bytearray, size: int) -> int:
        size = self._decoder.strip(buffer, size)
        if self.origin is None and (destination := self._decoder.destination) is not None:
            self.origin = Origin("ctframe", destination, self._peer)
        return size


class ProxySource(Source):
    """One PROXY header at the start of the stream (docs/wire-formats.md#proxy-protocol)."""

    name = "proxy"

    def __init__(
        self,
        trust: Trust,
        keys: KeyRing | None = None,
        window: int = 300,
        versions: tuple[int, ...] = (1, 2),
    ) -> None:
        self.trust = trust
        self.keys = keys
        self.window = window
        self.versions = versions

    def check(self, sockname: Any) -> None:
        self.trust.check(self.name, sockname, signed=self.keys is not None, signable=True)

    def accept(self, sock: Any, peer: Address | None, bound: Address | None) -> OriginStage:
        self.trust.admit(peer)
        return HeaderStage(self, peer)

    def decode(self, data: bytes) -> tuple[proxy.Header, int] | None:
        """The header at the start of `data` and its length; None while it is incomplete."""
        return proxy.decode(data, versions=self.versions, keys=self.keys, window=self.window)


class HeaderStage:
    """Strips the header from the first bytes, then is done."""

    __slots__ = ("_held", "_peer", "_source", "done", "origin")

    def __init__(self, source: ProxySource, peer: Address | None) -> None:
        self._source = source
        self._peer = peer
        self._held = b""
        self.origin: Origin | None = None
        self.done = False

    def strip(self, buffer: bytearray, size: int) -> int:
        held = len(self._held)
        with memoryview(buffer) as view:
            data = self._held + bytes(view[: min(size, proxy.MAX_HEADER)])
            found = self._source.decode(data)
            if found is None:
                self._held = data
                return 0
            header, length = found
            self._source.trust.match_source(header, self._peer)
            self.origin = Origin(
                "proxy",
                header.dst,
                header.src or self._peer,
                header.auth is not None,
                header.tlvs,
                header.auth,
            )
            self.done = True
            consumed = length - held
            view[: size - consumed] = view[consumed:size]
            return size - consumed

    def eof(self) -> None:
        if self._held:  # a peer that sends nothing is a health check or a port scan
            raise OriginError(Reason.EOF_IN_HEADER, f"after {len(self._held)} bytes")


class ConntrackSource(Source):
    """This host's own NAT: the kernel tells the destination through SO_ORIGINAL_DST."""

    name = "conntrack"

    def __init__(self, require_redirect: bool = False) -> None:
        self._require = require_redirect

    def check(self, sockname: Any) -> None:
        _check_inet(self.name, sockname)

    def accept(self, sock: Any, peer: Address | None, bound: Address | None) -> Origin:
        destination = original_destination(sock)
        if destination is None and self._require:
            raise OriginError(Reason.NOT_REDIRECTED, "dialled this address itself")
        return Origin(self.name, destination, peer, destination is not None)


class TproxySource(Source):
    """A TPROXY rule does not translate the connection: its local address is the destination."""

    name = "tproxy"

    def __init__(
        self, own: Iterable[tuple[str, int | None]] = (), require_redirect: bool = False
    ) -> None:
        self._own = frozenset(own)
        self._require = require_redirect

    def check(self, sockname: Any) -> None:
        _check_inet(self.name, sockname)

    def prepare(self, sock: socket.socket) -> None:
        if sock.getsockopt(socket.SOL_IP, IP_TRANSPARENT):
            return  # done by the master before it dropped its privileges
        try:
            sock.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
            if sock.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
        except PermissionError:
            raise ValueError(
                f"{show_listener(sock.getsockname())}: source tproxy needs CAP_NET_ADMIN for its "
                "listener: start as root (--user drops the rights afterwards)"
            ) from None

    def accept(self, sock: Any, peer: Address | None, bound: Address | None) -> Origin:
        local = normal_address(sock.getsockname())
        if local == bound or local is None or {local, (local[0], None)} & self._own:
            if self._require:
                raise OriginError(Reason.NOT_REDIRECTED, "dialled this address itself")
            local = None
        return Origin(self.name, local, peer, local is not None)


def _check_inet(name: str, sockname: Any) -> None:
    if not isinstance(sockname, tuple):
        raise ValueError(
            f"{show_listener(sockname)}: source {name} needs TCP, a unix socket has no NAT"
        )


SOURCES = ("none", "ctframe", "proxy", "proxy-v2", "conntrack", "tproxy")


def make_source(
    name: str,
    *,
    trust: Trust | None = None,
    keys: KeyRing | None = None,
    auth_window: int = 300,
    own: Iterable[tuple[str, int | None]] = (),
    require_redirect: bool = False,
) -> Source:
    """The source called `name` (one of SOURCES) with the options that apply to it."""
    if name == "none":
        return Source()
    if name == "ctframe":
        return CtframeSource(trust or Trust(), signed=keys is not None)
    if name in ("proxy", "proxy-v2"):
        versions = (2,) if name == "proxy-v2" else (1, 2)
        return ProxySource(trust or Trust(), keys, auth_window, versions)
    if name == "conntrack":
        return ConntrackSource(require_redirect)
    if name == "tproxy":
        return TproxySource(own, require_redirect)
    raise ValueError(f"unknown source {name!r}: choose one of {', '.join(SOURCES)}")

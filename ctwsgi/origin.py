# SPDX-License-Identifier: MIT
"""The origin: where a connection was going before it was redirected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Address = tuple[str, int]
"""(host, port). The host is written as inet_ntop does, without brackets or zone; an IPv4 address
that is mapped into IPv6 is written as IPv4."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection was going, who opened it, and which source told.

    Falsy when the original destination is not known or the connection was not redirected, so a view
    may say `if origin: ...` for both.
    """

    source: str
    """`ctframe`, `proxy`, `conntrack`, `tproxy` or `none`."""
    orig_dst: Address | None = None
    """Where the client was going; None when that is unknown, or is the address where it arrived."""
    orig_src: Address | None = None
    """The client's address as the injector saw it, else the TCP peer's; None for a unix socket
    whose client sent no header."""
    verified: bool = False
    """True when the client cannot have chosen `orig_dst`: the header's signature is valid, or this
    host's kernel told the destination. Never True without a destination, so that code which checks
    only this attribute fails closed."""
    tlvs: tuple[tuple[int, bytes], ...] = ()
    """The (type, value) pairs of a PROXY v2 header, raw, in the header's order."""
    auth: int | None = None
    """The id of the key that signed the header; None when no signature was verified."""

    def __bool__(self) -> bool:
        return self.orig_dst is not None

    def environ(self) -> dict[str, Any]:
        """The five `ct.*` keys of the environ contract (docs/environ.md)."""
        return {
            "ct.orig_dst": self.orig_dst,
            "ct.orig_src": self.orig_src,
            "ct.source": self.source,
            "ct.verified": self.verified,
            "ct.origin": self,
        }

# SPDX-License-Identifier: MIT
"""The origin: what a connection knows of its beginnings. Imports nothing; anything may use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Address = tuple[str, int]
"""(host, port). The host is inet_ntop text, without brackets or zone; v4-mapped ones are IPv4."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection was going before it was redirected, and how we know.

    Falsy when the connection was not redirected or cannot tell, so a view may say
    `if origin: ...` without asking which.
    """

    source: str
    """`ctframe`, `proxy`, `conntrack`, `tproxy` or `none`."""
    orig_dst: Address | None = None
    """Where the client was going; None when that is not known or is where it arrived."""
    orig_src: Address | None = None
    """The client as the injector saw it, else the peer; None for a unix peer without header."""
    verified: bool = False
    """The client cannot have chosen `orig_dst`: a tag verified, or this host's kernel told it.
    Never True without a destination, so that a check of it fails closed."""
    tlvs: tuple[tuple[int, bytes], ...] = ()
    """(type, value) pairs of a PROXY v2 header, raw, in their order."""
    auth: int | None = None
    """The id of the key that signed the header; None without a verified tag."""

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

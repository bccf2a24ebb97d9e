# SPDX-License-Identifier: MIT
"""How the origin goes into the stream: a header once (`Proxy`), or one per chunk (`Ctframe`)."""

from __future__ import annotations

from typing import Protocol

from ..errors import OriginError, Reason
from ..origin import Address
from ..wire.auth import Key
from ..wire.proxy import encode_v2


class Injection(Protocol):
    """What a Relay asks of a format."""

    name: str
    framed: bool
    """True: every chunk of the client's is preceded by a ctframe header."""

    def opening(self, source: Address, destination: Address) -> bytes:
        """What goes out before the client's first byte; may be empty. OriginError: refused."""


class Ctframe:
    """DESIGN 3.1. IPv4 only: the format has four bytes for the address."""

    name = "ctframe"
    framed = True

    def opening(self, source: Address, destination: Address) -> bytes:
        if ":" in destination[0]:
            raise OriginError(
                Reason.NOT_IPV4, "ctframe cannot carry an IPv6 destination: use --format proxy"
            )
        return b""


class Proxy:
    """DESIGN 3.3, as v2; with a key, signed as in 3.4."""

    name = "proxy"
    framed = False

    def __init__(self, *, key: Key | None = None, crc32c: bool = False) -> None:
        self.key = key
        """May be replaced at any time: the next connection is signed with the new one."""
        self.crc32c = crc32c

    def opening(self, source: Address, destination: Address) -> bytes:
        return encode_v2(source, destination, crc32c=self.crc32c, key=self.key)

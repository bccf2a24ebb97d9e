# SPDX-License-Identifier: MIT
"""How the origin is written: one header per connection (`Proxy`) or per chunk (`Ctframe`)."""

from __future__ import annotations

from typing import Protocol

from ..errors import OriginError, Reason
from ..origin import Address
from ..wire.auth import Key
from ..wire.proxy import encode_v2


class Injection(Protocol):
    """A format, as a Relay uses it."""

    name: str
    framed: bool
    """True: a ctframe header precedes every chunk from the client."""

    def opening(self, source: Address, destination: Address) -> bytes:
        """The bytes to send before the client's first byte, possibly none. OriginError: refuse."""


class Ctframe:
    """docs/wire-formats.md#ctframe-stream-tcp-ipv4. The format has four bytes for the address."""

    name = "ctframe"
    framed = True

    def opening(self, source: Address, destination: Address) -> bytes:
        if ":" in destination[0]:
            raise OriginError(
                Reason.NOT_IPV4, "ctframe cannot carry an IPv6 destination: use --format proxy"
            )
        return b""


class Proxy:
    """docs/wire-formats.md#version-2; with a key, signed (#authentication-tlv-type-0xe7)."""

    name = "proxy"
    framed = False

    def __init__(self, *, key: Key | None = None, crc32c: bool = False) -> None:
        self.key = key
        """May be replaced at any time; the next connection is signed with the new key."""
        self.crc32c = crc32c

    def opening(self, source: Address, destination: Address) -> bytes:
        return encode_v2(source, destination, crc32c=self.crc32c, key=self.key)

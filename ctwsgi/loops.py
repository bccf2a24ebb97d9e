# SPDX-License-Identifier: MIT
"""Loop refusal: is this original destination this host itself?

A connection to such a destination would come back here. The relay and the middleware ask
(docs/relay.md#what-it-refuses, docs/middleware.md#options).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .linux import LocalAddresses
from .origin import Address
from .wire.address import normal_host, pack_host

_PORT = r"(?::(?P<port>[0-9]{1,5}))?"
_WORD = re.compile(rf"(?:\[(?P<v6>[^]]+)\]|(?P<v4>[^:]+)){_PORT}|(?P<bare>.+)")


def parse_self(text: str) -> tuple[str, int | None]:
    """Splits `ADDR`, `ADDR:PORT` or `[V6]:PORT` into host and port; the port may be None.

    ValueError for anything else.
    """
    match = _WORD.fullmatch(text)
    if match is not None:
        host = match["v6"] or match["v4"] or match["bare"]
        port = int(match["port"]) if match["port"] else None
        try:
            pack_host(host)
            if port is None or 0 < port < 65536:
                return normal_host(host), port
        except ValueError:
            pass  # the message below is clearer
    raise ValueError(f"{text!r} is neither ADDR nor ADDR:PORT (IPv6 in brackets)")


class LoopGuard:
    """Knows this host's addresses: those of its interfaces, and those that NAT translates to it."""

    def __init__(self, own: Iterable[tuple[str, int | None]] = ()) -> None:
        self._own = frozenset(own)
        self._local = LocalAddresses()

    def refuses(self, destination: Address) -> bool:
        """True when a connection to `destination` would come back here."""
        host, port = destination
        return host in self._local or (host, None) in self._own or (host, port) in self._own

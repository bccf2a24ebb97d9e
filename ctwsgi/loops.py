# SPDX-License-Identifier: MIT
"""Loop refusal: is this original destination ourselves? (DESIGN section 4)

Only what dials on, or answers in another's name, needs to ask: the relay and the middleware.
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
    """`ADDR`, `ADDR:PORT` or `[V6]:PORT` of --self, to (host, port or None); else ValueError."""
    match = _WORD.fullmatch(text)
    if match is not None:
        host = match["v6"] or match["v4"] or match["bare"]
        port = int(match["port"]) if match["port"] else None
        try:
            pack_host(host)
            if port is None or 0 < port < 65536:
                return normal_host(host), port
        except ValueError:
            pass  # the message below says it better
    raise ValueError(f"{text!r} is neither ADDR nor ADDR:PORT (IPv6 in brackets)")


class LoopGuard:
    """Holds what counts as ourselves: this host's addresses, and those that NAT brings here."""

    def __init__(self, own: Iterable[tuple[str, int | None]] = ()) -> None:
        self._own = frozenset(own)
        self._local = LocalAddresses()

    def refuses(self, destination: Address) -> bool:
        """True when dialling `destination` would come back to us."""
        host, port = destination
        return host in self._local or (host, None) in self._own or (host, port) in self._own

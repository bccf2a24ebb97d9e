"""Loop refusal: is this original destination ourselves? (DESIGN section 4)

Only what dials on, or answers in another's name, needs to ask: the relay and the middleware.
"""

from __future__ import annotations

from collections.abc import Iterable

from .linux import LocalAddresses
from .origin import Address
from .wire.address import normal_host, pack_host


def parse_self(text: str) -> tuple[str, int | None]:
    """`ADDR`, `ADDR:PORT` or `[V6]:PORT` of --self, to (host, port or None); else ValueError."""
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        if rest and not rest.startswith(":"):
            raise ValueError(f"{text!r} is neither ADDR nor ADDR:PORT")
        port = rest[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        number = int(port) if port else None
        if number is not None and not 0 < number < 65536:
            raise ValueError
        pack_host(host)
        return normal_host(host), number
    except ValueError:
        raise ValueError(f"{text!r} is neither ADDR nor ADDR:PORT (IPv6 in brackets)") from None


class LoopGuard:
    """Holds what counts as ourselves: this host's addresses, and those that NAT brings here."""

    def __init__(self, own: Iterable[tuple[str, int | None]] = ()) -> None:
        self._own = frozenset(own)
        self._local = LocalAddresses()

    def refuses(self, destination: Address) -> bool:
        """True when dialling `destination` would come back to us."""
        host, port = destination
        return host in self._local or (host, None) in self._own or (host, port) in self._own

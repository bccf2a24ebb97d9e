# SPDX-License-Identifier: MIT
"""The original destination on its way through the splash page, and the link to go on.

The redirected listener knows the destination, the portal's own listener does not: it travels in
the redirect's query, signed, and bound to the client's address, so that a link made by one client
is worth nothing in the browser of another.

Two things are told apart, here and on the page. The *address and port* are facts: the connection
went there. The *name* is the client's word, its Host header: it is kept only if it is spelled like
a host name, not ours, and agrees in its port. The link goes to that name on that port by http,
because that is where this client's browser was going by itself; without a name, to the address.
The path and the query are dropped: they may hold secrets, and repeating them may do something.
Nothing is ever fetched or redirected to by us.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from itsdangerous import BadData

from ctwsgi.wire.address import show

from .portal import Client, Portal
from .security import make_serializer

TOKEN_AGE = 24 * 3600
"""Seconds after which the destination is forgotten."""

LONGEST = 253
"""Characters of a host name (RFC 1035, 2.3.4, as text)."""

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)+(?!\d+$){_LABEL}")
"""Labels of RFC 1123, 2.1, and the underscore of practice; the last is not all digits."""
_HOST = re.compile(r"(?P<name>[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True)
class Destination:
    """Where a client was going."""

    address: str
    port: int
    name: str = ""
    """'' when the client gave none that may be used."""

    @property
    def url(self) -> str:
        """Always http: only that is ever redirected to us."""
        host = self.name or (f"[{self.address}]" if ":" in self.address else self.address)
        return f"http://{host}/" if self.port == 80 else f"http://{host}:{self.port}/"

    @property
    def place(self) -> str:
        """The fact, for the page."""
        return show(self.address, self.port)


class Continuations:
    """Destinations to tokens and back."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self._serializer = make_serializer(portal, "destination")

    def make(self, client: Client, orig_dst: tuple[str, int], host: str) -> str:
        """A token that only this client's address can use. `host` is the Host header."""
        name = self.usable_name(host, orig_dst[1])
        return str(self._serializer.dumps([client.address, *orig_dst, name]))

    def read(self, client: Client, token: str) -> Destination | None:
        """None for anything that make() did not make for this client, or too long ago."""
        try:
            address, host, port, name = self._serializer.loads(token, max_age=TOKEN_AGE)
        except (BadData, TypeError, ValueError):
            return None
        return Destination(host, port, name) if address == client.address else None

    def usable_name(self, host: str, port: int) -> str:
        """The Host header's name, or '' (see the module)."""
        match = _HOST.fullmatch(host.lower())
        if match is None or len(match["name"]) > LONGEST or not _NAME.fullmatch(match["name"]):
            return ""
        if int(match["port"] or 80) != port or self._portal.is_own_name(host):
            return ""
        return match["name"]

# SPDX-License-Identifier: MIT
"""Carries the original destination through the splash page, for the link to go on.

The redirected listener knows the destination, and the portal's own listener does not. So the query
of the redirect holds it, signed and bound to the client's address: another client cannot use the
link.

The *address and port* are facts, because the connection went there. The *name* comes from the
client's Host header. It is kept only if it is spelled like a host name, is not the portal's, and
agrees with the connection's port. The link goes by http to that name and port, where this client's
browser was going, or to the address if there is no name. Path and query are dropped: they may hold
secrets, and repeating a request may have an effect. The portal itself neither fetches the
destination nor redirects to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from itsdangerous import BadData

from ctwsgi.wire.address import show

from .portal import NetworkClient, Portal
from .security import make_serializer

TOKEN_AGE = 24 * 3600
"""Seconds after which the destination is forgotten."""

LONGEST = 253
"""Characters in a host name (RFC 1035, 2.3.4)."""

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)+(?!\d+$){_LABEL}")
"""Labels as in RFC 1123, 2.1, with the underscore that is in use; the last has a non-digit."""
_HOST = re.compile(r"(?P<name>[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True)
class Destination:
    """The destination of a redirected client."""

    address: str
    port: int
    name: str = ""
    """'' when the client sent no usable name."""

    @property
    def url(self) -> str:
        """An http URL, because the gateway redirects nothing else."""
        host = self.name or (f"[{self.address}]" if ":" in self.address else self.address)
        return f"http://{host}/" if self.port == 80 else f"http://{host}:{self.port}/"

    @property
    def place(self) -> str:
        """Address and port, for the page."""
        return show(self.address, self.port)


class Continuations:
    """Makes tokens of destinations, and reads them."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self._serializer = make_serializer(portal, "destination")

    def make(self, client: NetworkClient, orig_dst: tuple[str, int], host: str) -> str:
        """A token that only a client with this address can use. `host` is the Host header."""
        name = self.usable_name(host, orig_dst[1])
        return str(self._serializer.dumps([client.address, *orig_dst, name]))

    def read(self, client: NetworkClient, token: str) -> Destination | None:
        """The destination; None for a token that is too old or not this client's."""
        try:
            address, host, port, name = self._serializer.loads(token, max_age=TOKEN_AGE)
        except (BadData, TypeError, ValueError):
            return None
        return Destination(host, port, name) if address == client.address else None

    def usable_name(self, host: str, port: int) -> str:
        """The name in the Host header, or '' when the link must not use it."""
        match = _HOST.fullmatch(host.lower())
        if match is None or len(match["name"]) > LONGEST or not _NAME.fullmatch(match["name"]):
            return ""
        if int(match["port"] or 80) != port or self._portal.is_own_name(host):
            return ""
        return match["name"]

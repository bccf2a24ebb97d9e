# SPDX-License-Identifier: MIT
"""[listen.*]: the sockets of the portal, with the settings of `ctwsgi serve` (docs/serve.md)."""

from __future__ import annotations

from dataclasses import dataclass

from ctwsgi.source import SOURCES

from .addresses import Endpoint, read_endpoint
from .table import Table

API_PATH = "/captive-portal/api"
"""The path of the API's URI, which DHCP and router advertisements announce (RFC 8910)."""


@dataclass(frozen=True)
class Listener:
    """The sockets of one role. All have the same port, by which the application knows the role."""

    bind: tuple[Endpoint, ...]
    source: str
    trust: tuple[str, ...] = ()
    auth_key_file: str = ""
    certfile: str = ""
    keyfile: str = ""

    @property
    def port(self) -> int:
        return self.bind[0][1]


@dataclass(frozen=True)
class Listeners:
    """Three roles, each on a port of its own."""

    redirected: Listener
    """Takes the connections that the gateway redirects."""
    portal: Listener
    """Serves the portal's own pages."""
    api: Listener | None
    """Serves the API of RFC 8908 over TLS; None: there is none."""
    guarded: bool
    """`ctwsgi serve --guarded`: a packet filter lets only translated connections through."""
    snat: bool
    """`ctwsgi serve --snat`: sources are rewritten on the way."""

    def roles(self) -> dict[str, Listener]:
        """The configured listeners by role."""
        roles = {"redirected": self.redirected, "portal": self.portal}
        return {**roles, "api": self.api} if self.api else roles


def read_listeners(table: Table) -> Listeners:
    """Reads the table [listen]."""
    redirected, portal, api = (table.table(name) for name in ("redirected", "portal", "api"))
    listeners = Listeners(
        redirected=_read(redirected, "conntrack", 8080),
        portal=_read(portal, "none", 8081),
        api=_read(api, "none", 8443) if "api" in table else None,
        guarded=table.flag("guarded", False),
        snat=table.flag("snat", False),
    )
    if listeners.redirected.source == "none":
        redirected.wrong("source", '"none" tells no destination: see docs/serve.md')
    if listeners.redirected.source == "ctframe" and listeners.redirected.trust != ("inline",):
        # From a relay every client would have the relay's address.
        redirected.wrong("source", '"ctframe" names no client: write "proxy", or trust = "inline"')
    if listeners.api and not listeners.api.certfile:
        api.wrong("certfile", "is missing: RFC 8908 asks for TLS")
    ports: dict[int, str] = {}
    for role, listener in listeners.roles().items():
        other = ports.setdefault(listener.port, role)
        if other != role:
            text = f"port {listener.port} is that of listen.{other} as well"
            table.table(role).wrong("bind", text)
    for inner in (redirected, portal, api, table):
        inner.done()
    return listeners


def _read(table: Table, source: str, port: int) -> Listener:
    bind = table.all_parsed("bind", read_endpoint, (f"127.0.0.1:{port}",))
    if len({p for _, p in bind}) != 1:
        table.wrong("bind", "takes addresses with one and the same port")
    if {"0.0.0.0", "::"} <= {host for host, _ in bind}:
        table.wrong("bind", "[::] takes IPv4 as well: leave 0.0.0.0 out")
    listener = Listener(
        bind=bind or (("127.0.0.1", port),),
        source=table.choice("source", source, SOURCES),
        trust=table.strings("trust"),
        auth_key_file=table.text("auth_key_file", ""),
        certfile=table.text("certfile", ""),
        keyfile=table.text("keyfile", ""),
    )
    if listener.certfile and listener.source != "none":
        table.wrong("certfile", f'TLS needs source "none", not {listener.source!r}')
    if listener.keyfile and not listener.certfile:
        table.wrong("keyfile", "is of no use without certfile")
    return listener

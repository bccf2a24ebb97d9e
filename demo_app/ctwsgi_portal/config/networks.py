# SPDX-License-Identifier: MIT
"""[access] and [[networks]]: the clients' networks, and what clients get in each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from itertools import combinations

from ..state.records import Method
from .addresses import IPNetwork, read_network
from .table import Table

METHODS: tuple[Method, ...] = ("click", "voucher", "password")

_DAY = 86400
_LONGEST = 365 * _DAY


@dataclass(frozen=True)
class Access:
    """How a client is accepted, and what it gets. A voucher has its own time and data."""

    methods: tuple[Method, ...]
    lifetime: int
    """Seconds, for click and password."""
    limit_bytes: int | None
    """Bytes, for click and password; None: no limit."""
    grants_per_day: int
    """How often an address may be accepted by click or password in 24 hours; 0: no limit."""
    extend: bool
    """Whether a session may be started anew before it has ended."""


@dataclass(frozen=True)
class Network:
    """A network of clients, on one or several interfaces of its gateway."""

    name: str
    interfaces: tuple[str, ...]
    addresses: tuple[IPNetwork, ...]
    access: Access


class Networks:
    """All networks. A client's address determines its network."""

    def __init__(self, networks: tuple[Network, ...]) -> None:
        self.all = networks
        # Every request asks, for a few thousand clients.
        self.of = lru_cache(maxsize=65536)(self._of)

    def __iter__(self) -> Iterator[Network]:
        return iter(self.all)

    def _of(self, address: str) -> Network | None:
        """The network of an address; None when it is in none of them."""
        host = ip_address(address)
        return next((n for n in self.all if any(host in net for net in n.addresses)), None)


def read_access(table: Table, default: Access | None = None) -> Access:
    """Reads [access], or a network's own values; a network inherits the rest from `default`."""
    words = default.methods if default else ("click",)
    methods = tuple(m for m in METHODS if m in table.strings("methods", words))
    for word in table.strings("methods", words):
        if word not in METHODS:
            table.wrong("methods", f"{word!r} is not one of {', '.join(METHODS)}")
    if not methods:
        table.wrong("methods", "lets nobody in: name at least one")
    lifetime = table.duration("lifetime", f"{default.lifetime}s" if default else "8h")
    if not 60 <= lifetime <= _LONGEST:
        table.wrong("lifetime", 'is not from "60s" to "365d"')
    limit = table.size("limit", f"{default.limit_bytes or 0}B" if default else 0)
    return Access(
        methods=methods,
        lifetime=lifetime,
        limit_bytes=limit or None,
        grants_per_day=table.integer(
            "grants_per_day", default.grants_per_day if default else 0, 0, 10000
        ),
        extend=table.flag("extend", default.extend if default else True),
    )


def read_networks(tables: list[Table], access: Access) -> Networks:
    """Reads [[networks]]. No two may share a name or an address."""
    networks = tuple(_read_network(table, access) for table in tables)
    for (i, one), (j, two) in combinations(enumerate(networks), 2):
        if one.name == two.name:
            tables[j].wrong("name", f"{two.name!r} is the name of networks[{i + 1}] as well")
        for net in one.addresses:
            for other in two.addresses:
                if net.version == other.version and net.overlaps(other):
                    text = f"{other} overlaps {net} of network {one.name!r}"
                    tables[j].wrong("addresses", text)
    return Networks(networks)


def _read_network(table: Table, access: Access) -> Network:
    network = Network(
        name=table.text("name"),
        interfaces=table.strings("interfaces"),
        addresses=table.all_parsed("addresses", read_network),
        access=read_access(table, access),
    )
    if not network.addresses:
        table.wrong("addresses", 'is empty: write networks, ["192.0.2.0/24", "2001:db8:1::/64"]')
    for one, two in combinations(network.addresses, 2):
        if one.version == two.version and one.overlaps(two):
            table.wrong("addresses", f"{one} overlaps {two}")
    table.done()
    return network

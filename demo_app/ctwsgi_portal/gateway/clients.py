# SPDX-License-Identifier: MIT
"""The clients that a gateway lets through. Nothing here does I/O.

A portal knows the address that was accepted. The gateway sees the device that has this address, and
then lets the device through by its MAC, with every address that it has.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address

from ..config.addresses import MAC
from ..state.records import Session
from .elements import Element
from .neighbours import Neighbours

MAX_ADDRESSES = 16
"""Addresses of one client. A device that invents thousands must not fill the sets."""


@dataclass
class Client:
    """One session as this gateway enforces it."""

    id: str
    address: str
    mac: str | None
    expires_at: float
    voucher: str = ""
    addresses: list[str] = field(default_factory=list)
    """The accepted address comes first."""

    def elements(self) -> Iterator[Element]:
        """Its elements: the name of a set, and the key in it."""
        if self.mac:
            yield "macs", self.mac
        else:
            yield f"granted{_version(self.address)}", self.address
        for address in self.addresses:
            yield back(address), address

    def take(self, addresses: Iterable[str]) -> list[str]:
        """Adds the new addresses among these, and returns them."""
        new = [a for a in dict.fromkeys(addresses) if a not in self.addresses]
        new = new[: max(0, MAX_ADDRESSES - len(self.addresses))]
        self.addresses += new
        return new


class Clients:
    """Clients by id, MAC and accepted address, and in the order in which they run out.

    There may be 100,000, so no method looks at each of them.
    """

    def __init__(self) -> None:
        self._by_id: dict[str, Client] = {}
        self._by_mac: dict[str, set[str]] = {}
        self._by_address: dict[str, str] = {}
        self._ends: list[tuple[float, str]] = []

    def put(self, session: Session) -> Client:
        """The client of a session. It gets the addresses that the store knows, because one may have
        moved to another client. look_up() adds those that the store does not know yet.
        """
        grant = session.grant
        client = self._by_id.get(grant.id)
        if client is None:
            client = Client(grant.id, grant.address, grant.mac, grant.expires_at, grant.voucher)
            self._by_id[grant.id] = client
            self._by_address[client.address] = client.id
            heapq.heappush(self._ends, (client.expires_at, client.id))
        elif client.expires_at != grant.expires_at:
            client.expires_at = grant.expires_at
            heapq.heappush(self._ends, (client.expires_at, client.id))
        client.addresses = list(dict.fromkeys((grant.address, *session.usage.addresses)))
        self.know(client, client.mac or grant.mac)
        return client

    def know(self, client: Client, mac: str | None) -> None:
        """Notes the MAC of the client's device."""
        client.mac = mac
        if mac:
            self._by_mac.setdefault(mac, set()).add(client.id)

    def pop(self, client_id: str) -> Client | None:
        """Removes a client, and returns it."""
        client = self._by_id.pop(client_id, None)
        if client and self._by_address.get(client.address) == client_id:
            del self._by_address[client.address]
        if client and client.mac:
            ids = self._by_mac.get(client.mac, set())
            ids.discard(client_id)
            if not ids:
                self._by_mac.pop(client.mac, None)
        return client

    def get(self, client_id: str) -> Client | None:
        return self._by_id.get(client_id)

    def accepted(self, address: str) -> Client | None:
        """The client that was accepted with this address."""
        return self._by_id.get(self._by_address.get(address, ""))

    def on(self, mac: str) -> list[Client]:
        """The clients on this device."""
        return [self._by_id[i] for i in self._by_mac.get(mac, ())]

    def ids(self) -> set[str]:
        return set(self._by_id)

    def run_out(self, now: float) -> list[str]:
        """Ids of clients whose time is over."""
        found = []
        while self._ends and self._ends[0][0] <= now:
            _, client_id = heapq.heappop(self._ends)
            client = self._by_id.get(client_id)
            if client and client.expires_at <= now:
                found.append(client_id)
        return found

    def next_end(self) -> float | None:
        """The next end in Unix seconds. It may be that of a client that is gone."""
        return self._ends[0][0] if self._ends else None

    def __len__(self) -> int:
        return len(self._by_id)


def usable(session: Session) -> bool:
    """Whether the packet filter can hold its MAC and addresses. One bad entry of a store must not
    stop the rest.
    """
    if session.grant.mac and not MAC.fullmatch(session.grant.mac):
        return False
    return all(map(_is_plain, (session.grant.address, *session.usage.addresses)))


def _is_plain(address: str) -> bool:
    """Whether it is an address in its usual spelling, without a zone, and not v4-mapped."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if parsed.version == 6 and (parsed.scope_id or parsed.ipv4_mapped):
        return False
    return parsed.compressed == address


def look_up(client: Client, clients: Clients, neighbours: Neighbours) -> bool:
    """Adds the MAC and the addresses of the client's device. True when one of them is new."""
    mac = neighbours.mac(client.address)
    if client.mac is None and mac is not None:
        clients.know(client, mac)
        client.take(neighbours.addresses(mac))
        return True
    return bool(client.mac and client.take(neighbours.addresses(client.mac)))


def seen(clients: Clients, neighbours: Neighbours) -> dict[str, Client]:
    """The clients about which the neighbour table has news, by id."""
    news = {}
    for address, mac in neighbours.pairs():
        client = clients.accepted(address)
        for each in (*clients.on(mac), *([client] if client else ())):
            if look_up(each, clients, neighbours):
                news[each.id] = each
    return news


def taken_over(
    clients: Clients, neighbours: Neighbours, owner: Callable[[str], str | None]
) -> Iterator[tuple[Client, str]]:
    """(client, address) where another device has the address, because DHCP assigned it again.

    `owner` gives the id of the client whose element the address is in the packet filter.
    """
    for address, mac in neighbours.pairs():
        accepted = clients.accepted(address)
        if accepted and accepted.mac == mac:
            continue  # nearly always: no other client can have the address
        other = clients.get(owner(address) or "")
        for client in (accepted, None if other is accepted else other):
            if client and client.mac and client.mac != mac:
                yield client, address


def back(address: str) -> str:
    """The set that lets packets to this address pass."""
    return f"back{_version(address)}"


def _version(address: str) -> int:
    return 6 if ":" in address else 4

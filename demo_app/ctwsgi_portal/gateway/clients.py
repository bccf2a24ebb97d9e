# SPDX-License-Identifier: MIT
"""The clients that a gateway lets through: a session of the store, and what the gateway adds.

Pure. A portal knows the address that was accepted. The gateway sees the device behind it: then the
device is let through, by its MAC, and with it every address that it has.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address

from ..state.records import Session
from .elements import Element
from .neighbours import Neighbours

MAX_ADDRESSES = 16
"""Per client. IPv6 devices have several; one that makes up thousands must not fill our tables."""


_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


@dataclass
class Client:
    """One session as this gateway enforces it."""

    id: str
    address: str
    mac: str | None
    expires_at: float
    voucher: str = ""
    addresses: list[str] = field(default_factory=list)
    """The accepted one comes first."""

    def elements(self) -> Iterator[Element]:
        """What of it belongs into which set."""
        if self.mac:
            yield "macs", self.mac
        else:
            yield f"granted{_version(self.address)}", self.address
        for address in self.addresses:
            yield back(address), address

    def take(self, addresses: Iterable[str]) -> list[str]:
        """Adds those that are new; gives them."""
        new = [a for a in dict.fromkeys(addresses) if a not in self.addresses]
        new = new[: max(0, MAX_ADDRESSES - len(self.addresses))]
        self.addresses += new
        return new


class Clients:
    """By id, MAC and accepted address, and in the order in which they run out.

    There may be 100,000 of them: nothing here looks at each.
    """

    def __init__(self) -> None:
        self._by_id: dict[str, Client] = {}
        self._by_mac: dict[str, set[str]] = {}
        self._by_address: dict[str, str] = {}
        self._ends: list[tuple[float, str]] = []

    def put(self, session: Session) -> Client:
        """The client of a session. Its addresses are what the store says now: one may have moved to
        another client. What the store has not heard of yet, look_up() finds again.
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
        """The client's device is this one."""
        client.mac = mac
        if mac:
            self._by_mac.setdefault(mac, set()).add(client.id)

    def pop(self, client_id: str) -> Client | None:
        """Forgets a client."""
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
        """Those whose time is over."""
        found = []
        while self._ends and self._ends[0][0] <= now:
            _, client_id = heapq.heappop(self._ends)
            client = self._by_id.get(client_id)
            if client and client.expires_at <= now:
                found.append(client_id)
        return found

    def next_end(self) -> float | None:
        """Unix seconds; it may be that of a client that has gone."""
        return self._ends[0][0] if self._ends else None

    def __len__(self) -> int:
        return len(self._by_id)


def usable(session: Session) -> bool:
    """Whether its addresses and MAC are some: one bad entry of a store must not stop the rest."""
    if session.grant.mac and not _MAC.fullmatch(session.grant.mac):
        return False
    try:
        addresses = (session.grant.address, *session.usage.addresses)
        return all(ip_address(a).compressed == a for a in addresses)
    except ValueError:
        return False


def look_up(client: Client, clients: Clients, neighbours: Neighbours) -> bool:
    """Learns the client's device and its addresses. Whether that is news, for the store too."""
    mac = neighbours.mac(client.address)
    if client.mac is None and mac is not None:
        clients.know(client, mac)
        client.take(neighbours.addresses(mac))
        return True
    return bool(client.mac and client.take(neighbours.addresses(client.mac)))


def seen(clients: Clients, neighbours: Neighbours) -> dict[str, Client]:
    """Those of whom the neighbour table tells something new, by id."""
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
    """(client, address) where another device has the address: DHCP gave it away, say.

    `owner` gives the id of a client that has it, by the packet filter.
    """
    for address, mac in neighbours.pairs():
        accepted = clients.accepted(address)
        if accepted and accepted.mac == mac:
            continue  # nearly all: nobody else can have it
        other = clients.get(owner(address) or "")
        for client in (accepted, None if other is accepted else other):
            if client and client.mac and client.mac != mac:
                yield client, address


def back(address: str) -> str:
    """The set that lets packets back to it."""
    return f"back{_version(address)}"


def _version(address: str) -> int:
    return 6 if ":" in address else 4

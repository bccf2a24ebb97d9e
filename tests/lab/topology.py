# SPDX-License-Identifier: MIT
"""The description of a lab: hosts, the wires between them, and the addresses that follow.

Nothing here touches the system. The Nth wire has the subnets 10.77.N.0/24 and fd77:0:0:N::/64, and
each of its ends has a fixed hardware address. So every route and every neighbour entry is known
before the first packet.
"""

from __future__ import annotations

import ipaddress
import random
from dataclasses import dataclass

from ctwsgi.wire.address import show as show_host_port

NOWHERE = {4: ipaddress.ip_network("198.18.0.0/15"), 6: ipaddress.ip_network("2001:db8::/32")}
"""Addresses that no host has: benchmarking (RFC 2544) and documentation (RFC 3849) prefixes."""


@dataclass(frozen=True)
class Host:
    """A network namespace. `default` names the neighbour that is its default gateway."""

    name: str
    forwards: bool = False
    default: str | None = None


@dataclass(frozen=True)
class Wire:
    """A veth pair. The device in each end is named after the host at the other end."""

    left: str
    right: str
    mtu: int = 1500

    def other(self, host: str) -> str:
        return self.right if host == self.left else self.left


@dataclass(frozen=True)
class Topology:
    """Hosts and wires. Forwarding hosts route the NOWHERE prefixes to the host named `nowhere`."""

    hosts: tuple[Host, ...]
    wires: tuple[Wire, ...]
    nowhere: str | None = None

    def wire(self, host: str, peer: str) -> tuple[int, Wire]:
        """The wire between two neighbours, and its number, counted from 1."""
        for number, wire in enumerate(self.wires, 1):
            if {wire.left, wire.right} == {host, peer}:
                return number, wire
        raise ValueError(f"no wire between {host} and {peer}")

    def address(self, host: str, peer: str, version: int = 4) -> str:
        """The address of `host` on its wire to `peer`."""
        number, wire = self.wire(host, peer)
        end = 1 if host == wire.left else 2
        return f"10.77.{number}.{end}" if version == 4 else f"fd77:0:0:{number}::{end}"

    def hardware(self, host: str, peer: str) -> str:
        """The MAC address of that device, a locally administered one."""
        number, wire = self.wire(host, peer)
        return f"02:00:00:00:{number:02x}:{1 if host == wire.left else 2:02x}"


CLIENT_GATEWAY_SERVER = Topology(
    hosts=(
        Host("client", default="gateway"),
        Host("gateway", forwards=True),
        Host("server", default="gateway"),
    ),
    wires=(Wire("client", "gateway"), Wire("gateway", "server")),
    nowhere="server",
)
"""The default topology; docs/lab.md has its picture."""


def draw_destination(version: int) -> tuple[str, int]:
    """A random (host, port) of NOWHERE, the host as inet_ntop writes it."""
    network = NOWHERE[version]
    # Not the first and not the last address: a host part of only zeros or ones is no host.
    host = network[random.randrange(1, network.num_addresses - 1)]
    return str(host), random.randrange(1, 65536)


def show(address: tuple[str, int]) -> str:
    """`host:port`, or `[host]:port` for IPv6 (RFC 3986, 3.2.2)."""
    return show_host_port(*address)

# SPDX-License-Identifier: MIT
"""Four namespaces and three wires, with the settings that a case may change.

      client                  gateway                 server                far
    ┌────────┐           ┌──────────────┐          ┌──────────┐          ┌───────┐
    │      c0├───────────┤gc          gs├──────────┤s0      s1├──────────┤f0     │
    └────────┘           │  nft: DNAT;  │          └──────────┘          └───────┘
    10.61.1.2  10.61.1.1 │  an injector │ 10.61.2.1  .2.2    .3.1       10.61.3.2
    fd61:1::2  fd61:1::1 └──────────────┘ fd61:2::1  :2::2  :3::1       fd61:3::2

The original destinations, 198.18.0.0/15 and 2001:db8::/32, exist nowhere. Only the gateway tracks
connections. `far` is for cases with a router between gateway and listener. Hardware addresses and
neighbour entries are fixed, so that impairments never lose ARP or neighbour discovery.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from .net import CommandError, Namespace

ORIGINAL = {4: "198.18.0.0/15", 6: "2001:db8::/32"}

RTO_MIN = "20ms"
"""The default of 200 ms would make cases with losses ten times slower."""


@dataclass(frozen=True)
class Wire:
    """A veth pair: (namespace, device) of both ends, and the number in its subnets."""

    number: int
    left: tuple[str, str]
    right: tuple[str, str]
    mtu: int = 1500


WIRES = (
    Wire(1, ("gateway", "gc"), ("client", "c0")),
    Wire(2, ("gateway", "gs"), ("server", "s0")),
    Wire(3, ("server", "s1"), ("far", "f0")),
)

SYSCTLS = {
    "net.ipv6.conf.all.accept_dad": 0,
    "net.ipv6.conf.default.accept_dad": 0,
    "net.ipv6.conf.all.forwarding": 0,
    # Cases bind their clients' ports below this range.
    "net.ipv4.ip_local_port_range": "60100 65000",
    "net.ipv4.tcp_max_syn_backlog": 8192,
}


class Lab:
    """The namespaces with their addresses and routes; `close()` removes them."""

    def __init__(self) -> None:
        names = ("client", "gateway", "server", "far")
        self.spaces = {name: Namespace(name) for name in names}
        self.client, self.gateway, self.server, self.far = self.spaces.values()
        for space in self.spaces.values():
            space.sysctl(SYSCTLS)
        for router in (self.gateway, self.server):
            router.sysctl({"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1})
        for wire in WIRES:
            self._lay(wire)
        for space in self.spaces.values():
            self.restore(space)

    def restore(self, space: Namespace) -> None:
        """Sets the addresses, neighbours and routes of `space`, where they are missing."""
        space.batch("ip", *self._lines(space, 4), *self._lines(space, 6))

    def restore_addresses(self, number: int) -> None:
        """Sets addresses and neighbours at the left end of that wire."""
        name, device = WIRES[number - 1].left
        for version in (4, 6):
            lines = _address_lines(WIRES[number - 1], 1, device, version)
            self.spaces[name].batch("ip", *lines)

    def _lay(self, wire: Wire) -> None:
        (left, left_device), (right, right_device) = wire.left, wire.right
        self.spaces[left].batch(
            "ip",
            f"link add {left_device} mtu {wire.mtu} address {_hardware(wire, 1)}"
            f" type veth peer name {right_device} mtu {wire.mtu} address {_hardware(wire, 2)}"
            f" netns {self.spaces[right].path}",
        )

    def _lines(self, space: Namespace, version: int) -> list[str]:
        """Commands of `ip` for addresses, neighbours and routes. IPv4's also set the devices up."""
        lines = []
        for wire in WIRES:
            for end, (name, device) in enumerate((wire.left, wire.right), 1):
                if name == space.name:
                    lines += _address_lines(wire, end, device, version)
        return lines + [
            f"route replace {route} rto_min {RTO_MIN}" for route in _routes(space.name, version)
        ]

    def devices(self) -> list[tuple[Namespace, str]]:
        """(namespace, device) of all ends of all wires."""
        ends = [end for wire in WIRES for end in (wire.left, wire.right)]
        return [(self.spaces[name], device) for name, device in ends]

    def offloads(self, values: Mapping[str, bool]) -> None:
        """Switches features on every device, and on `lo` those that it supports."""
        for space, device in self.devices():
            space.offloads(device, values)
        for feature, on in values.items():
            try:
                self.gateway.offloads("lo", {feature: on})
            except OSError as e:
                if e.errno != errno.EOPNOTSUPP:
                    raise

    @contextmanager
    def narrowed(self, mtu: int, *ends: tuple[str, str]) -> Iterator[None]:
        """Sets the MTU of these (namespace, device) in the `with`. Below 1280 bytes the kernel
        removes a device's IPv6 addresses, which are added again at the end."""
        for name, device in ends:
            self.spaces[name].set_mtu(device, mtu)
        try:
            yield
        finally:
            for name, device in ends:
                self.spaces[name].set_mtu(device, 1500)
            for name in {name for name, _ in ends} if mtu < 1280 else ():
                self.spaces[name].batch("ip", *self._lines(self.spaces[name], 6))

    def into_vrf(self) -> None:
        """Puts the gateway's wires into a VRF. Nothing takes them out again."""
        self.gateway.batch(
            "ip",
            "link add red type vrf table 10",
            "link set red up",
            *(f"link set {device} down" for device in ("gc", "gs")),
            *(f"link set {device} master red" for device in ("gc", "gs")),
        )
        # A device that goes down loses its neighbours and IPv6 addresses. IPv4's lines set it up.
        for version in (4, 6):
            lines = self._lines(self.gateway, version)
            self.gateway.batch("ip", *(line for line in lines if not line.startswith("route")))

    def kill_sockets(self) -> None:
        """Destroys every TCP socket that the kernel allows to destroy."""
        for space in self.spaces.values():
            with suppress(CommandError):
                space.run("ss", "-K", "-t", "state", "connected")

    def close(self) -> None:
        """Closes the namespaces. The kernel removes each after its last socket."""
        for space in self.spaces.values():
            space.close()


def _hardware(wire: Wire, end: int) -> str:
    return f"02:61:00:00:0{wire.number}:0{end}"


def _address_lines(wire: Wire, end: int, device: str, version: int) -> list[str]:
    net, length = (f"10.61.{wire.number}.", 24) if version == 4 else (f"fd61:{wire.number}::", 64)
    flags = "" if version == 4 else " nodad"
    lines = [f"link set {device} addrgenmode none up"] if version == 4 else []
    return [
        *lines,
        f"addr replace {net}{end}/{length} dev {device}{flags}",
        f"neigh replace {net}{3 - end} lladdr {_hardware(wire, 3 - end)} dev {device}",
    ]


def _routes(name: str, version: int) -> list[str]:
    """Routes without metrics. The gateway needs routes to the original destinations for its own
    sockets, because routing comes before NAT in OUTPUT."""
    v4 = version == 4
    one, two, three = (f"10.61.{n}." if v4 else f"fd61:{n}::" for n in (1, 2, 3))
    return {
        "client": [f"default via {one}1"],
        "gateway": [
            f"{ORIGINAL[version]} via {two}2",
            f"{three}{'0/24' if v4 else '/64'} via {two}2",
            f"{one}0/24 dev gc src {one}1" if v4 else f"{one}/64 dev gc metric 128",
            *(f"local {a} dev lo table local" for a in ("127.0.0.1", one + "1", two + "1") if v4),
        ],
        "server": [f"default via {two}1"],
        "far": [f"default via {three}1"],
    }[name]

# SPDX-License-Identifier: MIT
"""The deployments: where client and listener are, and the NAT rule between them.

    dnat      client ──► gateway: DNAT to the gateway's own address (LOCAL_IN)
    redirect  client ──► gateway: REDIRECT (LOCAL_IN)
    gateway   client ──► gateway: DNAT ──► server (POST_ROUTING)
    lo        gateway: OUTPUT DNAT to 127.0.0.1, its own client (POST_ROUTING, over lo)
    dnat6, gateway6, lo6   the same over IPv6
    behind, behind6   client ──► gateway: DNAT ──► server, which routes ──► far
    direct, direct-local   no NAT: client ──► server, client ──► gateway


All NAT rules are loaded all the time. The original destination determines the place, and whether
the injector's rule selects it, so that a case can run with and without injector under the same
rules.

               198.18.PLACE.x   selected         2001:db8:PLACE::x
               198.19.PLACE.x   not selected     2001:db8:100 + PLACE::x
"""

from __future__ import annotations

from dataclasses import dataclass

Address = tuple[str, int]

PORT = 8080
"""The port of every listener."""

SELECTED = {4: "198.18.0.0/16, 10.61.0.0/16", 6: "2001:db8::/40, fd61::/16"}
"""The destinations that an injector's rule selects. The real addresses are among them: there is no
NAT for such a connection, and an injector must not change it."""

CLIENT = {4: "10.61.1.2", 6: "fd61:1::2"}
GATEWAY = {4: "10.61.1.1", 6: "fd61:1::1"}
SERVER = {4: "10.61.2.2", 6: "fd61:2::2"}
FAR = {4: "10.61.3.2", 6: "fd61:3::2"}
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
ROUTED = {4: "10.61.2.1", 6: "fd61:2::1"}
"""The gateway's source address for its own connections to original destinations."""


@dataclass(frozen=True)
class Place:
    """One deployment. `client` and `listener` are names of namespaces."""

    name: str
    number: int
    version: int
    client: str
    listener: str
    nat: str
    """The NAT statement in nft's language; empty without NAT."""
    target: str
    """The address that the listener's socket has."""
    source: str
    """The client's address."""
    local: bool = False
    """The listener is on the injector's own host."""
    seen_as: str = ""
    """The client's address as the listener sees it."""

    @property
    def output(self) -> bool:
        """The client is on the gateway itself."""
        return self.client == "gateway"

    def network(self, selected: bool) -> str:
        """The original destinations of this place."""
        if self.version == 4:
            return f"198.{18 if selected else 19}.{self.number}.0/24"
        return f"2001:db8:{self.number if selected else 0x100 + self.number:x}::/48"

    def original(self, index: int, selected: bool = True) -> Address:
        """The original destination of connection `index`; the next index has another one."""
        if not self.nat:
            return self.target, PORT
        network = self.network(selected)
        last = 1 + index % 250
        port = 80 + index % 7919
        if self.version == 4:
            return network.replace("0/24", str(last)), port
        return network.replace("/48", f"{last:x}"), port


def _dnat(version: int, host: str) -> str:
    return f"dnat ip to {host}:{PORT}" if version == 4 else f"dnat ip6 to [{host}]:{PORT}"


def _place(
    name: str,
    number: int,
    version: int,
    client: str,
    listener: str,
    to: str,
    nat: str | None = None,
) -> Place:
    source = CLIENT[version] if client == "client" else ROUTED[version]
    return Place(
        name,
        number,
        version,
        client,
        listener,
        _dnat(version, to) if nat is None else nat,
        to,
        source,
        local=client == "client" and listener == "gateway",
        seen_as=source,
    )


PLACES = {
    place.name: place
    for place in (
        _place("dnat", 1, 4, "client", "gateway", GATEWAY[4]),
        _place("redirect", 2, 4, "client", "gateway", GATEWAY[4], f"redirect to :{PORT}"),
        _place("gateway", 3, 4, "client", "server", SERVER[4]),
        _place("lo", 4, 4, "gateway", "gateway", LOOPBACK[4]),
        _place("dnat6", 5, 6, "client", "gateway", GATEWAY[6]),
        _place("gateway6", 6, 6, "client", "server", SERVER[6]),
        _place("lo6", 7, 6, "gateway", "gateway", LOOPBACK[6]),
        _place("behind", 8, 4, "client", "far", FAR[4]),
        _place("behind6", 9, 6, "client", "far", FAR[6]),
        _place("direct", 10, 4, "client", "server", SERVER[4], ""),
        _place("direct-local", 11, 4, "client", "gateway", GATEWAY[4], ""),
    )
}


def nat_rules() -> str:
    """The nft table with the NAT rules of all places."""
    chains = {False: "", True: ""}
    for place in filter(lambda place: place.nat, PLACES.values()):
        family = "ip" if place.version == 4 else "ip6"
        for selected in (True, False):
            chains[place.output] += (
                f"    meta l4proto {{ tcp, udp }} {family} daddr {place.network(selected)}"
                f" {place.nat}\n"
            )
    return f"""table inet translate {{
  chain pre {{
    type nat hook prerouting priority dstnat;
{chains[False]}  }}
  chain out {{
    type nat hook output priority -100;
{chains[True]}  }}
}}
"""

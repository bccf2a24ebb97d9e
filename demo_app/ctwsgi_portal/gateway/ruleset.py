# SPDX-License-Identifier: MIT
"""The text of the packet filter: ruleset.nft, filled in from a `Rules`. Nothing here does I/O.

nft may load the text repeatedly; elements that the agent and dnsmasq have added stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address
from pathlib import Path

import jinja2

from ..config.addresses import Endpoint, IPNetwork

TABLE = "ctwsgi_portal"
"""The table's name, in the inet family."""

SIZE = 1 << 18
"""Elements that a set may hold: four addresses for each of 65,536 devices."""

CONFIGURED = ("bypass", "portal4", "portal6", "garden4", "garden6", "resolvers4", "resolvers6")
"""Sets whose elements are in the text. They are emptied before it is loaded."""

_BURST = 64 * 1024
"""Bytes that the kernel's bucket holds in addition to one second's amount
(net/netfilter/nft_limit.c). The largest packet (GSO) must fit into it, or a slow client would never
get one.
"""


@dataclass(frozen=True)
class Rules:
    """The values that ruleset.nft is filled in with."""

    lan_interfaces: tuple[str, ...]
    """The interfaces towards the clients."""
    redirect_to: tuple[Endpoint, ...] = ()
    """The redirected listener on another machine, at most one address per IP version; empty when it
    is on this machine.
    """
    redirect_port: int = 8080
    """The port of the redirected listener, or of the relay, on this machine."""
    helper: str = ""
    """`ctproxy` or `ctframe`, with which the kernel module writes the origin; '' without it."""
    portal: tuple[str, ...] = ()
    """Addresses of the portal's own pages and API."""
    portal_ports: tuple[int, ...] = (80, 443)
    garden: tuple[IPNetwork, ...] = ()
    resolvers: tuple[IPNetwork, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
    """Name servers on other machines that clients may ask before they are granted."""
    bypass: tuple[str, ...] = ()
    """MAC addresses."""
    rate_up: int = 0
    """Bytes per second for each address of a client; 0: no limit."""
    rate_down: int = 0
    services_rate: int = 16 * 1024
    """Bytes per second and direction of DNS, NTP and DHCP for a client that is not granted."""
    size: int = SIZE


def render(rules: Rules) -> str:
    """The table in nft's language."""
    meters = (
        ["services", "answers"] + ["up"] * bool(rules.rate_up) + ["down"] * bool(rules.rate_down)
    )
    remote = [host for host, _ in rules.redirect_to]
    ports = {*rules.portal_ports, *(port for _, port in rules.redirect_to)}
    guarded = sorted({port for _, port in rules.redirect_to})
    return _TEMPLATE.render(
        table=TABLE,
        size=rules.size,
        lan_interfaces=_braces(f'"{name}"' for name in rules.lan_interfaces),
        bypass=sorted(rules.bypass),
        portal4=_hosts([*rules.portal, *remote], 4),
        portal6=_hosts([*rules.portal, *remote], 6),
        garden4=_networks(rules.garden, 4),
        garden6=_networks(rules.garden, 6),
        resolvers4=_networks(rules.resolvers, 4),
        resolvers6=_networks(rules.resolvers, 6),
        meters=[f"{name}{version}" for name in meters for version in (4, 6)],
        helper=rules.helper,
        guard=_braces(map(str, guarded)) if guarded else "",
        portal_ports=rules.portal_ports,
        ports=_braces(map(str, sorted(ports))),
        translations=_translations(rules),
        services_rate=_rate(rules.services_rate),
        rate_up=_rate(rules.rate_up),
        rate_down=_rate(rules.rate_down),
    )


def load_script(rules: Rules, replace: bool = False) -> str:
    """The commands that load the table, in one transaction.

    With `replace` they delete the old table with all its elements. That is necessary when its sets
    have other properties.
    """
    empty = f"add table inet {TABLE}\n"
    if replace:
        return f"{empty}delete table inet {TABLE}\n{render(rules)}"
    return f"{empty}flush table inet {TABLE}\n{render(rules)}"


def _translations(rules: Rules) -> list[str]:
    if not rules.redirect_to:
        # `redirect` takes the address that this machine has towards the client, of either version.
        return [f"meta l4proto tcp redirect to :{rules.redirect_port}"]
    made = []
    for host, port in rules.redirect_to:
        if ip_address(host).version == 4:
            made.append(f"meta nfproto ipv4 meta l4proto tcp dnat ip to {host}:{port}")
        else:
            made.append(f"meta nfproto ipv6 meta l4proto tcp dnat ip6 to [{host}]:{port}")
    return made


def _hosts(hosts: Iterable[str], version: int) -> list[str]:
    return sorted({host for host in hosts if ip_address(host).version == version})


def _networks(networks: Sequence[IPNetwork], version: int) -> list[str]:
    if version == 4:
        return [str(n) for n in collapse_addresses(n for n in networks if n.version == 4)]
    return [str(n) for n in collapse_addresses(n for n in networks if n.version == 6)]


def _braces(words: Iterable[str]) -> str:
    return "{ " + ", ".join(words) + " }"


def _rate(bytes_per_second: int) -> str:
    if not bytes_per_second:
        return ""
    return f"{bytes_per_second} bytes/second burst {_BURST} bytes"


def _elements(words: Sequence[str]) -> str:
    return f"\n    elements = {_braces(words)}" if words else ""


def _template() -> jinja2.Template:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.globals["elements"] = _elements
    return environment.from_string(Path(__file__).with_name("ruleset.nft").read_text())


_TEMPLATE = _template()

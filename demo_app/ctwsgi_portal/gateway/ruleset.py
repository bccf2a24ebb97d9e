# SPDX-License-Identifier: MIT
"""The packet filter's text: ruleset.nft, filled in with what the configuration says.

Pure: text out of a `Rules`, nothing here touches the system. The text may be loaded again and
again; what the agent and dnsmasq put into sets in between stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address
from pathlib import Path

import jinja2

TABLE = "ctwsgi_portal"
"""In the inet family."""

SIZE = 1 << 18
"""Elements that a set may hold. Four addresses for each of 65,536 devices."""

CONFIGURED = (*("bypass", "portal4", "portal6", "garden4", "garden6", "resolvers4", "resolvers6"),)
"""Sets whose elements stand in the text: emptied before it is loaded."""

Network = IPv4Network | IPv6Network
Endpoint = tuple[str, int]

_BURST = 64 * 1024
"""Bytes beyond the second's worth that the kernel's bucket has anyway (net/netfilter/nft_limit.c):
the largest packet (GSO) must fit, or a slow client would get none.
"""


@dataclass(frozen=True)
class Rules:
    """What the ruleset depends on."""

    inside: tuple[str, ...]
    """Interfaces towards the clients."""
    redirect_to: tuple[Endpoint, ...] = ()
    """The redirected listener on another machine, at most one address per version. Empty: here."""
    redirect_port: int = 8080
    """Of the redirected listener, or of the relay in front of it, on this machine."""
    helper: str = ""
    """`ctproxy` or `ctframe`: the kernel module marks what goes to `redirect_to`."""
    portal: tuple[str, ...] = ()
    """Addresses of the portal's own pages and API, where they are not this machine's."""
    portal_ports: tuple[int, ...] = (80, 443)
    garden: tuple[Network, ...] = ()
    resolvers: tuple[Network, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
    """Name servers beyond this machine that clients may ask before they are granted."""
    bypass: tuple[str, ...] = ()
    """MAC addresses."""
    rate_up: int = 0
    """Bytes per second and client address; 0: as fast as it goes."""
    rate_down: int = 0
    services_rate: int = 16 * 1024
    """Bytes per second of DNS, NTP and DHCP of a client that is not granted, either way."""
    size: int = SIZE


def render(rules: Rules) -> str:
    """The table, as nft's language."""
    meters = (
        ["services", "answers"] + ["up"] * bool(rules.rate_up) + ["down"] * bool(rules.rate_down)
    )
    remote = [host for host, _ in rules.redirect_to]
    ports = {*rules.portal_ports, *(port for _, port in rules.redirect_to)}
    guarded = sorted({port for _, port in rules.redirect_to})
    return _TEMPLATE.render(
        table=TABLE,
        size=rules.size,
        inside=_braces(f'"{name}"' for name in rules.inside),
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
    """What makes the kernel's table this one, in one transaction.

    With `replace` the old table goes, granted clients too: for when its sets were made otherwise.
    """
    empty = f"add table inet {TABLE}\n"
    if replace:
        return f"{empty}delete table inet {TABLE}\n{render(rules)}"
    return f"{empty}flush table inet {TABLE}\n{render(rules)}"


def _translations(rules: Rules) -> list[str]:
    if not rules.redirect_to:
        # For either version, and whatever address this machine has towards the client.
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


def _networks(networks: Sequence[Network], version: int) -> list[str]:
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

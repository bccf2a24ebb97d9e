# SPDX-License-Identifier: MIT
"""[gateway]: what the agent needs beside the networks; a gateway without an agent ignores it."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from ctwsgi.loops import parse_self

from .table import Table

Network = IPv4Network | IPv6Network

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_NAME = re.compile(r"([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9-]{1,63}")


@dataclass(frozen=True)
class Gateway:
    """[gateway]"""

    name: str
    """Unlike those of other gateways."""
    redirect_to: tuple[tuple[str, int], ...]
    """The redirected listener, when it is on another machine: at most one address per version."""
    redirect_port: int | None
    """Of a listener here, instead of [listen.redirected]'s: the relay's."""
    helper: str
    """Of the kernel module, which then writes the origin; '' for none."""
    garden: tuple[Network, ...]
    names: tuple[str, ...]
    """The walled garden, by networks and by names; a name stands for those below it, too."""
    resolvers: tuple[Network, ...]
    bypass: tuple[str, ...]
    """MAC addresses, lower case."""
    rate_up: int
    rate_down: int
    """Bytes per second and address; 0 for no limit."""
    report_every: int
    """Seconds."""


def read_gateway(table: Table) -> Gateway:
    """The table [gateway]."""
    gateway = Gateway(
        name=table.text("name", socket.gethostname() or "gateway"),
        redirect_to=table.all_parsed("redirect_to", _endpoint),
        redirect_port=table.integer("redirect_port", 0, 0, 65535) or None,
        helper=table.choice("helper", "", ("", "ctproxy", "ctframe")),
        garden=table.all_parsed("garden", _network),
        names=table.all_parsed("names", _name),
        resolvers=table.all_parsed("resolvers", _network, ("0.0.0.0/0", "::/0")),
        bypass=table.all_parsed("bypass", _mac),
        rate_up=table.size("rate_up", 0),
        rate_down=table.size("rate_down", 0),
        report_every=table.duration("report_every", "10s"),
    )
    versions = [ip_address(host).version for host, _ in gateway.redirect_to]
    if len(set(versions)) != len(versions):
        table.wrong("redirect_to", "takes at most one address of each IP version")
    if gateway.redirect_to and gateway.redirect_port:
        table.wrong(
            "redirect_port", "is a port here, and redirect_to says elsewhere: leave one out"
        )
    if gateway.helper and not gateway.redirect_to:
        table.wrong("helper", "is for another machine: write redirect_to as well")
    if gateway.helper == "ctframe" and 6 in versions:
        table.wrong("helper", '"ctframe" knows IPv4 only: write "ctproxy"')
    if not 1 <= gateway.report_every <= 3600:
        table.wrong("report_every", 'is not from "1s" to "1h"')
    table.done()
    return gateway


def _endpoint(word: str) -> tuple[str, int]:
    host, port = parse_self(word)
    if port is None:
        raise ValueError(f"{word!r} lacks a port: write {word}:8080")
    return ip_address(host).compressed, port


def _network(word: str) -> Network:
    try:
        return ip_network(word)
    except ValueError as e:
        raise ValueError(f"{word!r} is not a network like 192.0.2.0/24: {e}") from None


def _mac(word: str) -> str:
    if not _MAC.fullmatch(word.lower()):
        raise ValueError(f"{word!r} is not a MAC address like 02:00:00:12:34:56")
    return word.lower()


def _name(word: str) -> str:
    if not _NAME.fullmatch(word):
        raise ValueError(f"{word!r} is not a name like example.org")
    return word.lower()

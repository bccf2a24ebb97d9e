# SPDX-License-Identifier: MIT
"""[gateway]: what the agent needs besides the networks. Other commands ignore it."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from ipaddress import ip_address

from .addresses import Endpoint, IPNetwork, read_endpoint, read_mac, read_network
from .table import Table

_NAME = re.compile(r"([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9-]{1,63}")


@dataclass(frozen=True)
class Gateway:
    """The table [gateway]: how the agent redirects, lets through and limits clients."""

    name: str
    """The name of this gateway, which no other gateway has."""
    redirect_to: tuple[Endpoint, ...]
    """The redirected listener when it is on another machine, at most one address per IP version."""
    redirect_port: int | None
    """The port of the relay on this machine; None: that of [listen.redirected]."""
    helper: str
    """The helper of the kernel module that writes the origin; '' for none."""
    garden: tuple[IPNetwork, ...]
    names: tuple[str, ...]
    """The walled garden, by networks and by names. A name includes all names below it."""
    resolvers: tuple[IPNetwork, ...]
    bypass: tuple[str, ...]
    """MAC addresses in lower case."""
    rate_up: int
    rate_down: int
    """Bytes per second for each address; 0: no limit."""
    report_every: int
    """Seconds."""


def read_gateway(table: Table) -> Gateway:
    """Reads the table [gateway]."""
    gateway = Gateway(
        name=table.text("name", socket.gethostname() or "gateway"),
        redirect_to=table.all_parsed("redirect_to", read_endpoint),
        redirect_port=table.integer("redirect_port", 0, 0, 65535) or None,
        helper=table.choice("helper", "", ("", "ctproxy", "ctframe")),
        garden=table.all_parsed("garden", read_network),
        names=table.all_parsed("names", _name),
        resolvers=table.all_parsed("resolvers", read_network, ("0.0.0.0/0", "::/0")),
        bypass=table.all_parsed("bypass", read_mac),
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


def _name(word: str) -> str:
    if not _NAME.fullmatch(word):
        raise ValueError(f"{word!r} is not a name like example.org")
    return word.lower()

# SPDX-License-Identifier: MIT
"""A bridge in the place of a device, as Docker and CNI plugins make them."""

from __future__ import annotations

import re
from pathlib import Path

from tests.lab import Node

CALLS = Path("/proc/sys/net/bridge")
"""The settings of br_netfilter, while it is loaded."""


def bridged(node: Node, bridge: str, port: str) -> None:
    """Make a bridge that takes over a device, its addresses and its hardware address."""
    listing = node.ip("-o", "addr", "show", "dev", port, "scope", "global")
    node.ip("link", "add", bridge, "type", "bridge")
    node.ip("addr", "flush", "dev", port, "scope", "global")
    node.ip("link", "set", port, "master", bridge)
    for address in re.findall(r" inet6? (\S+) ", listing):
        node.ip("addr", "add", address, "dev", bridge, *(["nodad"] if ":" in address else []))
    node.ip("link", "set", bridge, "up")


def pass_through_ip(node: Node, calls: int) -> None:
    """Whether packets that stay on the node's bridges pass iptables and nft's tables of IP."""
    tools = ("iptables", "ip6tables")
    node.sysctl({f"net.bridge.bridge-nf-call-{tool}": calls for tool in tools})

# SPDX-License-Identifier: MIT
"""The packet filter rules of the topologies, as nft text.

Each is a table, so that it can be added and deleted independently of the others.
nft 1.0.6 needs a newline before the `}` of a chain.
"""

from __future__ import annotations

from dataclasses import dataclass

from ctwsgi.guard import guard_rules

from .topology import NOWHERE

TPROXY_MARK = 1
TPROXY_TABLE = 100
"""The routing table that delivers marked packets locally (Node.marked_delivery)."""

_V4, _V6 = f"ip daddr {NOWHERE[4]}", f"ip6 daddr {NOWHERE[6]}"


@dataclass(frozen=True)
class Table:
    """An inet table: its name, and its body in nft's language."""

    name: str
    body: str

    def __str__(self) -> str:
        return f"table inet {self.name} {{\n{self.body}\n}}\n"


def _chain(name: str, head: str, *rules: str) -> str:
    lines = "".join(f"    {rule}\n" for rule in (head, *rules))
    return f"  chain {name} {{\n{lines}  }}"


_NAT_PREROUTING = "type nat hook prerouting priority dstnat;"


def redirect(port: int) -> Table:
    """Sends connections to NOWHERE to `port` of this host."""
    return Table(
        f"redirect_{port}",
        _chain(
            "pre",
            _NAT_PREROUTING,
            f"{_V4} meta l4proto tcp redirect to :{port}",
            f"{_V6} meta l4proto tcp redirect to :{port}",
        ),
    )


def dnat(v4: tuple[str, int], v6: tuple[str, int]) -> Table:
    """Sends connections to NOWHERE to another host."""
    return Table(
        "to_another_host",
        _chain(
            "pre",
            _NAT_PREROUTING,
            f"{_V4} meta l4proto tcp dnat ip to {v4[0]}:{v4[1]}",
            f"{_V6} meta l4proto tcp dnat ip6 to [{v6[0]}]:{v6[1]}",
        ),
    )


def tproxy(port: int) -> Table:
    """Hands connections to NOWHERE, untranslated, to the transparent listener at `port`."""
    return Table(
        f"tproxy_{port}",
        _chain(
            "pre",
            "type filter hook prerouting priority mangle;",
            f"{_V4} meta l4proto tcp tproxy ip to :{port} meta mark set {TPROXY_MARK} accept",
            f"{_V6} meta l4proto tcp tproxy ip6 to :{port} meta mark set {TPROXY_MARK} accept",
        ),
    )


def mark(helper: str, port: int) -> Table:
    """Has the kernel module write the origin of connections to NOWHERE (kmod/README.md).

    `port` is only for the name of the table.
    """
    return Table(
        f"mark_{port}",
        f'  ct helper origin {{\n    type "{helper}" protocol tcp\n  }}\n'
        + _chain(
            "select",
            "type filter hook prerouting priority mangle;",
            f'{_V4} meta l4proto tcp ct helper set "origin"',
            f'{_V6} meta l4proto tcp ct helper set "origin"',
        ),
    )


def guard(port: int, hook: str) -> Table:
    """Lets only translated connections reach `port` (docs/threat-model.md#the-guard).

    `hook` is input on the listener's own host, forward on a gateway. The counter lets a check
    wait for the dropped SYN instead of for a time.
    """
    return Table(
        f"guard_{port}",
        _chain(
            "in",
            f"type filter hook {hook} priority filter;",
            *(rule.replace(" drop", " counter drop") for rule in guard_rules(f"tcp dport {port}")),
        ),
    )

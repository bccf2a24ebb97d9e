# SPDX-License-Identifier: MIT
"""Impairments of the wires: loss, reordering, duplication.

netem is on both ends of every wire and on `lo`, so that it acts on each packet once per wire. A
one-shot loss is an nft rule that drops one packet per client port: on the client's side before
conntrack and injector see the packet, on the listener's side after both.

              client's wire                    listener's wire
    client ──────────────────► gateway ──────────────────────────► server
                        raw prerouting, iif gc              raw prerouting, iif s0

Where client or listener is the gateway itself, there is only the other wire. Over `lo`, packets
enter prerouting (iif lo) after the injector.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .lab import Lab
from .places import PORT, Place

TABLE = "lose"

_FIRST_DATA = "meta length > 200"
# An acknowledgement has 52 bytes, 72 with IPv6; the shortest segment with a header has 80 and 124.
_WITH_PAYLOAD = {4: "meta length > 75", 6: "meta length > 100"}
_NOT_SYN = "tcp flags & (syn | rst) == 0"


@dataclass(frozen=True)
class Impairment:
    """`netem` is for tc; `client_side` and `listener_side` match the packet that is lost there."""

    name: str
    netem: str = ""
    client_side: str = ""
    listener_side: str = ""
    """`{payload}` stands for a match of any payload."""

    @property
    def once(self) -> bool:
        """It loses a known packet of each connection, once."""
        return bool(self.client_side or self.listener_side)


IMPAIRMENTS = {
    impairment.name: impairment
    for impairment in (
        Impairment("clean"),
        Impairment("delay", "delay 60ms"),
        # Shorter than the program's sweep in these cases.
        Impairment("short-delay", "delay 8ms"),
        Impairment("loss1", "loss 1%"),
        Impairment("loss5", "loss 5%"),
        Impairment("reorder", "delay 3ms reorder 30% 20%"),
        Impairment("duplicate", "duplicate 10%"),
        Impairment("duplicate30", "duplicate 30%"),
        Impairment("storm", "delay 2ms reorder 30% loss 3% duplicate 10%"),
        # On both wires: the first transmission is lost before the injector, the second behind it.
        Impairment("data-lost", "", _FIRST_DATA, _FIRST_DATA),
        # The first packet that is no SYN, before the injector; behind it, that is the header.
        Impairment("ack-lost", "", _NOT_SYN),
        Impairment("header-lost", "", "", "{payload}"),
    )
}


class Wires:
    """Sets the impairment. Runs tc and nft only for what changes."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._netem = ""
        self._rules: dict[str, str] = {}
        """The rule of the one-shot loss, by namespace."""
        self._taken = 0

    def set_netem(self, netem: str) -> None:
        """Sets netem on every device; an empty string removes it."""
        if netem == self._netem:
            return
        verb = f"replace dev {{}} root netem limit 20000 {netem}" if netem else "del dev {} root"
        devices = [*self._lab.devices(), (self._lab.gateway, "lo")]
        for space in self._lab.spaces.values():
            lines = [f"qdisc {verb.format(device)}" for where, device in devices if where is space]
            space.batch("tc", *lines)
        self._netem = netem

    def lose(self, impairment: Impairment, place: Place) -> None:
        """Sets the one-shot losses of this impairment at this place, or removes the last ones."""
        rules = {}
        if impairment.client_side and not place.output:
            rules["gateway"] = f'iifname "gc" {impairment.client_side}'
        behind = impairment.listener_side or (place.output and impairment.client_side)
        if behind and not place.local:
            device = "lo" if place.output else "s0"
            rules[place.listener] = f'iifname "{device}" tcp dport {PORT} {behind}'
        for rule in rules:
            rules[rule] = rules[rule].format(payload=_WITH_PAYLOAD[place.version])
        for space in rules.keys() | self._rules.keys():
            if rules.get(space) != self._rules.get(space):
                self._replace(space, rules.get(space))
        self._taken = self._count()

    def _replace(self, space: str, rule: str | None) -> None:
        # Added before it is deleted, because deleting a missing table is an error.
        text = f"table inet {TABLE} {{\n}}\ndelete table inet {TABLE}\n"
        if rule:
            text += f"""table inet {TABLE} {{
  set done {{
    type inet_service
    flags dynamic
    size 65535
  }}
  chain pre {{
    type filter hook prerouting priority -300
    {rule} tcp sport != @done add @done {{ tcp sport }} counter drop
  }}
}}
"""
            self._rules[space] = rule
        else:
            del self._rules[space]
        self._lab.spaces[space].nft(text)

    def lost(self) -> int:
        """How many packets the one-shot losses have dropped since `lose`."""
        return self._count() - self._taken

    def _count(self) -> int:
        taken = 0
        for space in self._rules:
            listing = self._lab.spaces[space].run("nft", "list", "chain", "inet", TABLE, "pre")
            taken += sum(map(int, re.findall(r"counter packets (\d+)", listing)))
        return taken

# SPDX-License-Identifier: MIT
"""Where translated connections go, and whether a guard (docs/threat-model.md#the-guard) is there.

nft.py understands a part of nft's language only. A selection or a translation with other conditions
counts as if it had none; a guard with other conditions does not count. So a doubt gives a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address
from typing import Any

from ..guard import CONDITIONS, UNTRACKED, guard_rules, guard_table
from ..wire.address import show
from .finding import Finding, Level
from .nft import FAMILY, Limits, Rule, Ruleset, Values, compatible, covers

IsLocal = Callable[[str], bool]
"""Whether an address is one of this host's."""

_TRANSLATES = ("DNAT", "REDIRECT", "NETMAP")
"""Targets of iptables, whose arguments nft does not show."""


@dataclass(frozen=True)
class Target:
    """The destination of a translation, for one IP version."""

    protocol: str
    version: int
    ports: tuple[int, int]
    """From, to."""
    host: str
    """Empty for an address of this host."""
    hook: str
    """The hook of a guard for this target: input or forward."""

    def __str__(self) -> str:
        low, high = self.ports
        if self.host and low == high:
            where = show(self.host, low)
        else:
            plural = "s" if low != high else ""
            where = f"port{plural} {self._span} of {self.host or 'this host'}"
        return f"{self.protocol} over IPv{self.version} to {where}"

    @property
    def _span(self) -> str:
        low, high = self.ports
        return str(low) if low == high else f"{low}-{high}"

    @property
    def packets(self) -> Limits:
        """The packets of connections to this target, as a guard sees them."""
        limits: dict[str, Values] = {
            "l4proto": (self.protocol,),
            "nfproto": (FAMILY[self.version],),
            "dport": (self.ports,),
        }
        if self.host:
            number = int(ip_address(self.host))
            limits["ip daddr" if self.version == 4 else "ip6 daddr"] = ((number, number),)
        return limits

    def guard(self, *conditions: str) -> str:
        """A guard, as nft takes it, that drops what meets one of the conditions."""
        packets = f"{self.protocol} dport {self._span}"
        if self.hook == "forward" and self.host:
            packets = f"{'ip' if self.version == 4 else 'ip6'} daddr {self.host} {packets}"
        return guard_table(self.hook, guard_rules(packets, conditions))


def targets(ruleset: Ruleset, selected: Limits, is_local: IsLocal) -> Iterator[Target | None]:
    """Targets of nat rules that may translate what is selected; None for an unknown target."""
    without_version = {k: v for k, v in selected.items() if k != "nfproto"}
    for rule in ruleset.rules:
        if compatible(without_version, rule.limits):
            yield from targets_of(rule, selected, is_local)


def targets_of(rule: Rule, selected: Limits, is_local: IsLocal) -> Iterator[Target | None]:
    """Where a rule translates what is selected to; None for an unknown target."""
    argument = rule.statement("dnat", "redirect")
    if argument is None:
        if _translates_unread(rule):
            yield None
        return
    host, ports = argument.get("addr", ""), _ports(argument.get("port"), rule.limits, selected)
    if not isinstance(host, str) or not ports:
        yield None
        return
    (protocol,) = selected["l4proto"]
    local = not host or is_local(host)
    for version in (4, 6):
        if host and ip_address(host).version != version:
            continue
        if FAMILY[version] not in rule.limits.get("nfproto", (FAMILY[version],)):
            continue
        for each in ports:
            yield Target(
                str(protocol), version, each,
                "" if local else host, "input" if local else "forward",
            )  # fmt: skip


def _translates_unread(rule: Rule) -> bool:
    """Whether a rule of iptables translates. Older versions of nft do not name its target."""
    names = [each.get("name", "") for each in rule.iptables]
    return any(name in _TRANSLATES or (not name and rule.chain.table == "nat") for name in names)


def _ports(port: Any, *limits: Limits) -> list[tuple[int, int]]:
    """The ports of the target; where the rule names none, those that clients dial."""
    if isinstance(port, int):
        return [(port, port)]
    dialled = next((each["dport"] for each in limits if "dport" in each), ())
    return [value for value in dialled if port is None and not isinstance(value, str)]


class Packets(Enum):
    """Packets by what conntrack knows about them."""

    TRANSLATED = True
    DIRECT = False
    UNKNOWN = None
    """Conntrack does not follow them, so they have no status."""


def _meets(rule: Rule, packets: Packets) -> bool:
    if packets is Packets.UNKNOWN:
        return rule.translated is None
    return rule.translated in (None, packets.value) and not rule.untracked


def shut(ruleset: Ruleset, target: Target, packets: Packets) -> bool:
    """Whether a guard drops all of these packets that go to the target."""
    decided: dict[object, bool] = {}
    for rule in ruleset.rules:
        if rule.chain.hook not in (target.hook, "") or rule.chain in decided:
            continue
        if rule.partial or not _meets(rule, packets) or not covers(rule.limits, target.packets):
            continue
        if rule.statement("drop", "reject") is not None:
            decided[rule.chain] = True
        elif rule.statement("accept") is not None:
            decided[rule.chain] = False
    return any(decided.values())


def unmarked(here: str, target: Target) -> Finding:
    """The finding about connections that are translated and get no origin."""
    return Finding(
        Level.TODO,
        "rules",
        f"{here}: translated, but not marked, so these clients write their own origin. "
        "Do not translate them, and drop them:",
        target.guard(f"meta nfproto {FAMILY[target.version]}"),
    )


def judged(
    ruleset: Ruleset, here: str, target: Target, signed: bool | None, *, signable: bool = True
) -> Finding:
    """The finding about a target of connections that get an origin.

    `signed`: headers have a signature; `signable`: they could have one.
    """
    if shut(ruleset, target, Packets.DIRECT):
        if shut(ruleset, target, Packets.UNKNOWN):
            return Finding(Level.OK, "rules", f"{here}: guarded")
        text = f"{here}: guarded, but not from what conntrack does not follow. "
        text += "Load this with nft -f:"
        return Finding(Level.TODO, "rules", text, target.guard(UNTRACKED))
    if signable and signed:
        text = f"{here}: signed; no guard, so the server must have --auth-key-file"
        return Finding(Level.OK, "rules", text)
    load = "Sign headers, or load this with nft -f:" if signable else "Load this with nft -f:"
    text = f"{here}: no guard: who dials it directly writes his own origin. {load}"
    return Finding(Level.TODO, "rules", text, target.guard(*CONDITIONS))

# SPDX-License-Identifier: MIT
"""Checks the packet filter: which connections are marked, where they go, what guards the target.

For each rule that gives connections `ctframe` or `ctproxy` it looks for the nat rules that may
translate the same connections, and at each target for the guard (docs/threat-model.md#the-guard).
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
from .nft import FAMILY, Helper, Limits, Rule, Ruleset, Values, compatible, covers, parse

KINDS = ("ctframe", "ctproxy")

_CONNTRACK = -200
"""NF_IP_PRI_CONNTRACK: chains with a lower priority see no connection to give a helper to."""

_UNREAD = "iptables gives connections helpers here, and its rules are not read: see kmod/README.md"


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


def check_rules(
    text: str, signed: bool | None, is_local: Callable[[str], bool]
) -> Iterator[Finding]:
    """`text` is what `nft -j list ruleset` printed. `signed`: headers have a signature."""
    try:
        ruleset = parse(text)
    except ValueError as e:
        yield Finding(Level.NOTE, "rules", str(e))
        return
    if any(rule.statement("xt") == {"type": "target", "name": "CT"} for rule in ruleset.rules):
        yield Finding(Level.NOTE, "rules", _UNREAD)
    selecting = [
        (rule, helper)
        for rule in ruleset.rules
        for helper in ruleset.helpers_of(rule)
        if helper.kind in KINDS
    ]
    if not selecting:
        yield Finding(Level.NOTE, "rules", "none gives a connection ctframe or ctproxy")
    findings: dict[Finding, None] = {}  # keeps the order and drops repetitions
    for rule, helper in selecting:
        findings.update(dict.fromkeys(_check_selection(ruleset, rule, helper, signed, is_local)))
    yield from findings


def _check_selection(
    ruleset: Ruleset,
    rule: Rule,
    helper: Helper,
    signed: bool | None,
    is_local: Callable[[str], bool],
) -> Iterator[Finding]:
    chain = rule.chain
    if chain.hook and chain.priority <= _CONNTRACK:
        text = f"chain {chain.table} {chain.name} runs before conntrack and gives nobody a helper"
        remedy = f"type filter hook {chain.hook} priority mangle;"
        yield Finding(Level.TODO, "rules", text, remedy)
    selected = {**rule.limits, "l4proto": (helper.protocol,)}
    targets = list(_targets(ruleset, selected, is_local))
    if None in targets or not targets:
        text = f"what gets {helper.kind} may be translated in a way not understood: guard it"
        yield Finding(Level.NOTE, "rules", text)
    for target in targets:
        if target:
            yield from _check_target(ruleset, selected, helper, target, signed)


def _check_target(
    ruleset: Ruleset, selected: Limits, helper: Helper, target: Target, signed: bool | None
) -> Iterator[Finding]:
    here = f"{helper.kind}, {target}"
    if not _marks(helper, selected, target):
        # nft gives such connections no helper, and reports no error.
        if not _shut(ruleset, target, _Packets.TRANSLATED) and not _is_marked(ruleset, target):
            family = f"meta nfproto {FAMILY[target.version]}"
            yield Finding(
                Level.TODO,
                "rules",
                f"{here}: translated, but not marked, so these clients write their own origin. "
                "Do not translate them, and drop them:",
                target.guard(family),
            )
        return
    if _shut(ruleset, target, _Packets.DIRECT):
        if _shut(ruleset, target, _Packets.UNKNOWN):
            yield Finding(Level.OK, "rules", f"{here}: guarded")
        else:
            text = f"{here}: guarded, but not from what conntrack does not follow. "
            text += "Load this with nft -f:"
            yield Finding(Level.TODO, "rules", text, target.guard(UNTRACKED))
    elif helper.kind == "ctproxy" and signed:
        text = f"{here}: signed; no guard, so the server must have --auth-key-file"
        yield Finding(Level.OK, "rules", text)
    else:
        key = "" if helper.kind == "ctframe" else "Sign headers, or "
        load = f"{key}load this with nft -f:"
        text = f"{here}: no guard: who dials it directly writes his own origin. "
        text += load[0].upper() + load[1:]
        yield Finding(Level.TODO, "rules", text, target.guard(*CONDITIONS))


def _targets(
    ruleset: Ruleset, selected: Limits, is_local: Callable[[str], bool]
) -> Iterator[Target | None]:
    """Targets of nat rules that may translate what is selected; None for an unknown target."""
    without_version = {k: v for k, v in selected.items() if k != "nfproto"}
    (protocol,) = selected["l4proto"]
    for rule in ruleset.rules:
        argument = rule.statement("dnat", "redirect")
        if argument is None or not compatible(without_version, rule.limits):
            continue
        host, ports = argument.get("addr", ""), _ports(argument.get("port"), rule.limits, selected)
        if not isinstance(host, str) or not ports:
            yield None
            continue
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


def _ports(port: Any, *limits: Limits) -> list[tuple[int, int]]:
    """The ports of the target; where the rule names none, those that clients dial."""
    if isinstance(port, int):
        return [(port, port)]
    dialled = next((each["dport"] for each in limits if "dport" in each), ())
    return [value for value in dialled if port is None and not isinstance(value, str)]


class _Packets(Enum):
    """Packets by what conntrack knows about them."""

    TRANSLATED = True
    DIRECT = False
    UNKNOWN = None
    """Conntrack does not follow them, so they have no status."""


def _meets(rule: Rule, packets: _Packets) -> bool:
    if packets is _Packets.UNKNOWN:
        return rule.translated is None
    return rule.translated in (None, packets.value) and not rule.untracked


def _shut(ruleset: Ruleset, target: Target, packets: _Packets) -> bool:
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


def _marks(helper: Helper, selected: Limits, target: Target) -> bool:
    """Whether this helper marks connections to the target. ctframe is for IPv4 only."""
    if target.version == 6 and helper.kind == "ctframe":
        return False
    family = FAMILY[target.version]
    return helper.protocol == target.protocol and family in selected.get("nfproto", (family,))


def _is_marked(ruleset: Ruleset, target: Target) -> bool:
    """Whether any rule marks connections of that protocol and IP version."""
    return any(
        helper.kind in KINDS and _marks(helper, rule.limits, target)
        for rule in ruleset.rules
        for helper in ruleset.helpers_of(rule)
    )

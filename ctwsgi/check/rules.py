# SPDX-License-Identifier: MIT
"""Checks the packet filter: which connections get an origin, where they go, what guards the target.

For each rule that gives connections `ctframe` or `ctproxy` it looks for the nat rules that may
translate the same connections, and at each target for the guard. program.py does the same for the
eBPF program.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .finding import Finding, Level
from .nft import FAMILY, Helper, Limits, Rule, Ruleset, parse
from .program import Program, check_program
from .targets import IsLocal, Packets, Target, judged, shut, targets, unmarked

KINDS = ("ctframe", "ctproxy")

_CONNTRACK = -200
"""NF_IP_PRI_CONNTRACK: chains with a lower priority see no connection to give a helper to."""


def check_rules(
    text: str, signed: bool | None, is_local: IsLocal, programs: Sequence[Program] = ()
) -> Iterator[Finding]:
    """`text` is what `nft -j list ruleset` printed. `signed`: the module signs its headers.
    `programs`: those that are attached to devices of this network namespace."""
    try:
        ruleset = parse(text)
    except ValueError as e:
        yield Finding(Level.NOTE, "rules", str(e))
        return
    yield from _unread(ruleset)
    selecting = [
        (rule, helper)
        for rule in ruleset.rules
        for helper in ruleset.helpers_of(rule)
        if helper.kind in KINDS
    ]
    if not selecting and not programs:
        yield Finding(Level.NOTE, "rules", "none gives a connection ctframe or ctproxy")
    findings: dict[Finding, None] = {}  # keeps the order and drops repetitions
    for rule, helper in selecting:
        findings.update(dict.fromkeys(_check_selection(ruleset, rule, helper, signed, is_local)))
    for program in programs:
        findings.update(dict.fromkeys(check_program(ruleset, program, is_local)))
    yield from findings


def _unread(ruleset: Ruleset) -> Iterator[Finding]:
    """nft lists the rules of iptables-nft without what their matches and targets say."""
    of_iptables = [rule for rule in ruleset.rules if rule.iptables]
    if not of_iptables:
        return
    tables = sorted({f"{rule.chain.family} {rule.chain.table}" for rule in of_iptables})
    tools = {"ip6tables-save" if r.chain.family == "ip6" else "iptables-save" for r in of_iptables}
    see = " and ".join(f"`{tool}`" for tool in sorted(tools))
    text = f"iptables has rules in {', '.join(tables)} that are not read: see {see}"
    if any(each == {"type": "target", "name": "CT"} for r in of_iptables for each in r.iptables):
        text += ". It gives connections helpers: see kmod/README.md"
    yield Finding(Level.NOTE, "rules", text)


def _check_selection(
    ruleset: Ruleset,
    rule: Rule,
    helper: Helper,
    signed: bool | None,
    is_local: IsLocal,
) -> Iterator[Finding]:
    chain = rule.chain
    if chain.hook and chain.priority <= _CONNTRACK:
        text = f"chain {chain.table} {chain.name} runs before conntrack and gives nobody a helper"
        remedy = f"type filter hook {chain.hook} priority mangle;"
        yield Finding(Level.TODO, "rules", text, remedy)
    selected = {**rule.limits, "l4proto": (helper.protocol,)}
    found = list(targets(ruleset, selected, is_local))
    if None in found or not found:
        text = f"what gets {helper.kind} may be translated in a way not understood: guard it"
        yield Finding(Level.NOTE, "rules", text)
    for target in found:
        if target:
            yield from _check_target(ruleset, selected, helper, target, signed)


def _check_target(
    ruleset: Ruleset, selected: Limits, helper: Helper, target: Target, signed: bool | None
) -> Iterator[Finding]:
    here = f"{helper.kind}, {target}"
    if _marks(helper, selected, target):
        signable = helper.kind == "ctproxy"
        yield judged(ruleset, here, target, signed, signable=signable)
    # nft gives such connections no helper, and reports no error.
    elif not shut(ruleset, target, Packets.TRANSLATED) and not _is_marked(ruleset, target):
        yield unmarked(here, target)


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

# SPDX-License-Identifier: MIT
"""Checks the packet filter for the eBPF program: each of its servers needs a guard, or signatures.

`--backend` names them. Without it they are what nat rules may translate to; if rules set the mark
of `--mark`, only what these rules select.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from ..ebpf.structs import Selection, Settings
from ..origin import Address
from .finding import Finding, Level
from .nft import FAMILY, Limits, Rule, Ruleset
from .targets import IsLocal, Packets, Target, judged, shut, targets, targets_of, unmarked

_TCP: Limits = {"l4proto": ("tcp",)}


@dataclass(frozen=True)
class Program:
    """What the program on a device selects."""

    device: str
    settings: Settings
    backends: tuple[Address, ...] = ()

    def __str__(self) -> str:
        return f"eBPF on {self.device}"


def check_program(ruleset: Ruleset, program: Program, is_local: IsLocal) -> Iterator[Finding]:
    """The findings about the servers of one device's program."""
    found = dict.fromkeys(_targets(ruleset, program, is_local))
    if not program.settings.signed and (None in found or not found):
        text = f"what gets a header by {program} may be translated in a way not understood: "
        yield Finding(Level.NOTE, "rules", f"{text}guard it, or sign")
    for each in found:
        if each is None:
            continue
        target, gets_header = each
        here = f"{program}, {target}"
        if gets_header:
            yield judged(ruleset, here, target, program.settings.signed)
        elif not shut(ruleset, target, Packets.TRANSLATED):
            yield unmarked(here, target)


def _targets(
    ruleset: Ruleset, program: Program, is_local: IsLocal
) -> Iterator[tuple[Target, bool] | None]:
    """The servers, each with whether connections to it get a header; None for an unknown server.

    A server on this host is none: the program's packets leave the host.
    """
    if program.settings.selection is Selection.BACKENDS:
        yield from _backends(ruleset, program, is_local)
        return
    for selected in _selections(ruleset, program.settings):
        for target in targets(ruleset, selected, is_local):
            if target is None:
                yield None
            elif target.host:
                family = FAMILY[target.version]
                yield target, family in selected.get("nfproto", (family,))


def _backends(
    ruleset: Ruleset, program: Program, is_local: IsLocal
) -> Iterator[tuple[Target, bool]]:
    """Also servers of an IP version without --backend to which the same rules translate."""
    named = {
        Target("tcp", ip_address(host).version, (port, port), host, "forward"): None
        for host, port in program.backends
    }
    for target in named:
        yield target, True
    versions = {target.version for target in named}
    for rule in ruleset.rules:
        selected = {**rule.limits, **_TCP}
        if named.keys().isdisjoint(targets_of(rule, selected, is_local)):
            continue
        for other in targets(ruleset, selected, is_local):
            if other and other.host and other.version not in versions:
                yield other, False


def _selections(ruleset: Ruleset, settings: Settings) -> Iterator[Limits]:
    """The limits of what is selected."""
    found = []
    if settings.selection is Selection.MARK:
        found = [rule.limits for rule in ruleset.rules if _may_set(rule, settings)]
    for limits in found or [{}]:
        if "tcp" in limits.get("l4proto", ("tcp",)):
            yield {**limits, **_TCP}


def _may_set(rule: Rule, settings: Settings) -> bool:
    """Whether the rule may give connections a mark that is selected."""
    mangle: Any = rule.statement("mangle")
    if mangle is None or mangle.get("key") != {"ct": {"key": "mark"}}:
        return False
    value = mangle.get("value")
    return not isinstance(value, int) or value & settings.mask == settings.mark

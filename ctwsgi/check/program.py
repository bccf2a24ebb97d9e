# SPDX-License-Identifier: MIT
"""Checks the packet filter for the eBPF program: each of its servers needs a guard, or signatures.

`--backend` names them. Without it they are what nat rules may translate to; if rules set the mark
of `--mark`, only what these rules select. For UDP, of these only the ports of `--udp`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

from ..ebpf.structs import Selection, Settings
from ..origin import Address
from .finding import Finding, Level
from .nft import FAMILY, Limits, Rule, Ruleset
from .targets import IsLocal, Packets, Target, judged, shut, targets, targets_of, unmarked


@dataclass(frozen=True)
class Program:
    """What the program on a device selects."""

    device: str
    settings: Settings
    backends: tuple[Address, ...] = ()
    udp_ports: tuple[int, ...] = ()

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols of what gets a header."""
        return ("tcp", "udp") if self.udp_ports else ("tcp",)

    def of_headers(self, target: Target) -> Iterator[Target]:
        """The part of a target whose port can get headers."""
        if target.protocol == "tcp":
            yield target
            return
        low, high = target.ports
        for port in self.udp_ports:
            if low <= port <= high:
                yield replace(target, ports=(port, port))

    def __str__(self) -> str:
        return f"eBPF on {self.device}"


def check_program(ruleset: Ruleset, program: Program, is_local: IsLocal) -> Iterator[Finding]:
    """The findings about the servers of one device's program."""
    for protocol in program.protocols:
        yield from _check_protocol(ruleset, program, protocol, is_local)


def _check_protocol(
    ruleset: Ruleset, program: Program, protocol: str, is_local: IsLocal
) -> Iterator[Finding]:
    found = dict.fromkeys(_targets(ruleset, program, protocol, is_local))
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
    ruleset: Ruleset, program: Program, protocol: str, is_local: IsLocal
) -> Iterator[tuple[Target, bool] | None]:
    """The servers, each with whether connections to it get a header; None for an unknown server.

    A server on this host is none: the program's packets leave the host.
    """
    if program.settings.selection is Selection.BACKENDS:
        yield from _backends(ruleset, program, protocol, is_local)
        return
    for selected in _selections(ruleset, program.settings, protocol):
        for target in targets(ruleset, selected, is_local):
            if target is None:
                yield None
            elif target.host:
                family = FAMILY[target.version]
                for each in program.of_headers(target):
                    yield each, family in selected.get("nfproto", (family,))


def _backends(
    ruleset: Ruleset, program: Program, protocol: str, is_local: IsLocal
) -> Iterator[tuple[Target, bool]]:
    """Also servers of an IP version without --backend to which the same rules translate."""
    named = {
        each: None
        for host, port in program.backends
        for each in program.of_headers(
            Target(protocol, ip_address(host).version, (port, port), host, "forward")
        )
    }
    for target in named:
        yield target, True
    versions = {target.version for target in named}
    for rule in ruleset.rules:
        if protocol not in rule.limits.get("l4proto", (protocol,)):
            continue
        selected: Limits = {**rule.limits, "l4proto": (protocol,)}
        if named.keys().isdisjoint(targets_of(rule, selected, is_local)):
            continue
        for other in targets(ruleset, selected, is_local):
            if other and other.host and other.version not in versions:
                yield from ((each, False) for each in program.of_headers(other))


def _selections(ruleset: Ruleset, settings: Settings, protocol: str) -> Iterator[Limits]:
    """The limits of what is selected."""
    found = []
    if settings.selection is Selection.MARK:
        found = [rule.limits for rule in ruleset.rules if _may_set(rule, settings)]
    for limits in found or [{}]:
        if protocol in limits.get("l4proto", (protocol,)):
            yield {**limits, "l4proto": (protocol,)}


def _may_set(rule: Rule, settings: Settings) -> bool:
    """Whether the rule may give connections a mark that is selected."""
    mangle: Any = rule.statement("mangle")
    if mangle is None or mangle.get("key") != {"ct": {"key": "mark"}}:
        return False
    value = mangle.get("value")
    return not isinstance(value, int) or value & settings.mask == settings.mark

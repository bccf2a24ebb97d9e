# SPDX-License-Identifier: MIT
"""Reads `nft -j list ruleset` (libnftables-json(5)), the part that `ctwsgi check` needs.

A rule's comparisons with literals become `limits`: the values that each compared field may have. A
rule with any other comparison (sets by name, marks, interfaces by pattern, ...) is `partial`: it
matches fewer packets than its limits say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Values = tuple[tuple[int, int] | str, ...]
"""Words and ranges of numbers; addresses are numbers."""

Limits = Mapping[str, Values]
"""Values by compared field: dport, l4proto, nfproto, iifname, `ip daddr`, `ip6 daddr`."""

FAMILY = {4: "ipv4", 6: "ipv6"}
_NFPROTO = {"ip": "ipv4", "ip6": "ipv6"}


def overlap(one: Values, other: Values) -> bool:
    """Whether a value is in both."""
    return any(_meet(a, b) for a in one for b in other)


def _meet(one: tuple[int, int] | str, other: tuple[int, int] | str) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return one[0] <= other[1] and other[0] <= one[1]


def compatible(one: Limits, other: Limits) -> bool:
    """Whether some packet may be within both."""
    return all(overlap(values, other[what]) for what, values in one.items() if what in other)


def covers(limits: Limits, packets: Limits) -> bool:
    """Whether all `packets` are within the limits."""
    return all(
        what in packets and all(_within(value, values) for value in packets[what])
        for what, values in limits.items()
    )


def _within(value: tuple[int, int] | str, values: Values) -> bool:
    if isinstance(value, str):
        return value in values
    return any(
        not isinstance(other, str) and other[0] <= value[0] and value[1] <= other[1]
        for other in values
    )


@dataclass(frozen=True)
class Chain:
    """`hook` is empty for a chain that other chains jump to."""

    family: str
    table: str
    name: str
    hook: str = ""
    priority: int = 0


@dataclass(frozen=True)
class Helper:
    """A `ct helper` object: the name of its type in the kernel, and its protocol."""

    kind: str
    protocol: str


@dataclass(frozen=True)
class Rule:
    """One rule; see the module's docstring."""

    chain: Chain
    limits: Limits
    partial: bool
    translated: bool | None
    """True: it compares `ct status` with dnat; False: with its absence; None: it does not."""
    untracked: bool
    """It matches packets that conntrack does not follow."""
    statements: tuple[Mapping[str, Any], ...]

    def statement(self, *names: str) -> Any:
        """The argument of the first statement with one of these names.

        {} when the statement has no argument, None when there is no such statement.
        """
        for statement in self.statements:
            for name in names:
                if name in statement:
                    return {} if statement[name] is None else statement[name]
        return None

    @property
    def iptables(self) -> list[Mapping[str, Any]]:
        """Its matches and targets of iptables, of which nft shows type and name at most."""
        return [each["xt"] or {} for each in self.statements if "xt" in each]


@dataclass
class Ruleset:
    """A whole ruleset, its rules in order."""

    helpers: dict[tuple[str, str, str], Helper] = field(default_factory=dict)
    """By family, table, name."""
    rules: list[Rule] = field(default_factory=list)

    def helpers_of(self, rule: Rule) -> Iterator[Helper]:
        """The helpers that the rule gives to connections, directly or by a map."""
        argument = rule.statement("ct helper")
        for name in _words(argument) if argument is not None else ():
            helper = self.helpers.get((rule.chain.family, rule.chain.table, name))
            if helper:
                yield helper


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _words(each)


def parse(text: str) -> Ruleset:
    """ValueError when `text` is no output of nft."""
    found = Ruleset()
    chains: dict[tuple[str, str, str], Chain] = {}
    try:
        for entry in json.loads(text)["nftables"]:
            (kind, body), *_ = entry.items()
            if kind == "chain":
                place = body["family"], body["table"], body["name"]
                chains[place] = Chain(*place, body.get("hook", ""), body.get("prio", 0))
            elif kind == "ct helper":
                place = body["family"], body["table"], body["name"]
                found.helpers[place] = Helper(body["type"], body["protocol"])
            elif kind == "rule":
                chain = chains[body["family"], body["table"], body["chain"]]
                found.rules.append(_rule(chain, body["expr"]))
    except (KeyError, TypeError, AttributeError) as e:
        raise ValueError(f"unexpected output of nft: {e!r}") from None
    return found


def _rule(chain: Chain, expressions: list[Mapping[str, Any]]) -> Rule:
    limits: dict[str, Values] = {}
    partial, translated, untracked = False, None, False
    if chain.family in _NFPROTO:
        limits["nfproto"] = (_NFPROTO[chain.family],)
    statements = []
    for expression in expressions:
        match = expression.get("match")
        if match is None:
            statements.append(expression)
            # `xt` is a match of iptables, which nft cannot show.
            partial |= "xt" in expression or "limit" in expression
            continue
        left, values = match["left"], _values(match["right"])
        if left == {"ct": {"key": "status"}} and match["right"] == "dnat":
            translated = match["op"] != "!"
            continue
        if left == {"ct": {"key": "state"}} and match["op"] in ("in", "=="):
            untracked = set(_words(match["right"])) >= {"invalid", "untracked"}
            if untracked:
                continue
        what, implied = _compared(left)
        if not what or values is None or match["op"] != "==":
            partial = True
        else:
            limits[what] = values
        limits = {**implied, **limits}
    return Rule(chain, limits, partial, translated, untracked, tuple(statements))


def _compared(left: Any) -> tuple[str, dict[str, Values]]:
    """The field that a match compares, and the limits that the comparison implies."""
    if not isinstance(left, dict):
        return "", {}
    meta = left.get("meta", {}).get("key")
    if meta in ("l4proto", "nfproto", "iifname"):
        return meta, {}
    payload = left.get("payload", {})
    protocol, what = payload.get("protocol"), payload.get("field")
    if what == "dport":
        return "dport", {"l4proto": (protocol,)} if protocol in ("tcp", "udp") else {}
    if protocol in _NFPROTO:
        implied: dict[str, Values] = {"nfproto": (_NFPROTO[protocol],)}
        return (f"{protocol} daddr" if what == "daddr" else ""), implied
    return "", {}


def _values(right: Any) -> Values | None:
    """The values of a literal; None for anything else."""
    if isinstance(right, int):
        return ((right, right),)
    if isinstance(right, str):
        return _word(right)
    if isinstance(right, dict) and "range" in right:
        low, high = (_values(end) for end in right["range"])
        if low and high and not isinstance(low[0], str) and not isinstance(high[0], str):
            return ((low[0][0], high[0][1]),)
    if isinstance(right, dict) and "prefix" in right:
        prefix = right["prefix"]
        network = ip_network(f"{prefix['addr']}/{prefix['len']}")
        return ((int(network[0]), int(network[-1])),)
    if isinstance(right, dict) and "set" in right:
        members = [_values(each) for each in right["set"]]
        if all(members):
            return tuple(value for member in members if member for value in member)
    return None


def _word(word: str) -> Values | None:
    if word.startswith("@") or word.endswith("*"):
        return None
    try:
        number = int(ip_address(word))
    except ValueError:
        return (word,)
    return ((number, number),)

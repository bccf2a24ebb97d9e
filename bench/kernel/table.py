# SPDX-License-Identifier: MIT
"""Results from samples: ratios to plain in the same round, targets, the tables, the JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from statistics import fmean, median, quantiles
from typing import Any

from .bpf_stats import WAYS
from .hooks import FUNCTIONS, NOTHING
from .plan import AIMS, HAPROXY, PLAIN, SIDES, WORKLOADS, Aim, Workload
from .sample import Sample

COLUMNS = "{:<16}{:>15}{:>8}{:>14}{:>12}{:>14}"

HOOK_COLUMNS = "{:<16}{:<12}{:>14}{:>14}{:>14}"


@dataclass(frozen=True)
class Spread:
    """A median and the quartiles."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, _, high = quantiles(values, n=4, method="inclusive")
        return cls(low, median(values), high)


class Results:
    """The valid samples of all rounds."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self.rounds: dict[tuple[str, str], dict[int, Sample]] = {}
        self.traced: list[Sample] = []
        for sample in samples:
            if sample.hooks:
                self.traced.append(sample)
            else:
                key = sample.side.name, sample.workload.name
                self.rounds.setdefault(key, {})[sample.round] = sample

    def costs(self, side: str, work: str) -> list[float]:
        return [sample.cost for sample in self.rounds.get((side, work), {}).values()]

    def _by_round(
        self, work: str, sides: tuple[str, ...], value: Callable[..., float]
    ) -> Spread | None:
        """`value` of the costs of `sides`, over the rounds that have a sample of each."""
        taken = [self.rounds.get((side, work), {}) for side in sides]
        common = set(taken[0]).intersection(*taken[1:])
        values = [value(*(rounds[number].cost for rounds in taken)) for number in sorted(common)]
        return Spread.of(values) if values else None

    def ratio(self, side: str, work: str) -> Spread | None:
        """Speed as a fraction of plain's."""
        base = SIDES[side].base
        return self._by_round(work, (base, side), lambda plain, own: plain / own)

    def over(self, side: str, work: str) -> Spread | None:
        """Instructions beyond plain's, per unit of the workload."""
        base = SIDES[side].base
        return self._by_round(work, (base, side), lambda plain, own: own - plain)

    def share(self, side: str, work: str) -> Spread | None:
        """Instructions beyond plain's, as a fraction of haproxy's."""
        return self._by_round(
            work,
            (PLAIN, side, HAPROXY),
            lambda plain, own, theirs: (own - plain) / (theirs - plain),
        )


def _line(results: Results, side: str, work: str) -> str:
    ratio, over, share = (ask(side, work) for ask in (results.ratio, results.over, results.share))
    words = [side, f"{median(results.costs(side, work)):,.0f}"]
    if side == PLAIN or not (ratio and over):
        return COLUMNS.format(*words, "", "", "", "").rstrip()
    words += [f"{ratio.middle:.3f}", f"{ratio.low:.3f}-{ratio.high:.3f}", f"{over.middle:,.0f}"]
    return COLUMNS.format(*words, f"{share.middle:.3f}" if share else "")


def _section(results: Results, work: Workload) -> list[str]:
    sides = [side for side, name in results.rounds if name == work.name]
    if not sides:
        return []
    unit = f"per {work.unit}"
    head = COLUMNS.format("", unit, "ratio", "quartiles", "over plain", "of haproxy's")
    order = sorted(sides, key=lambda side: median(results.costs(side, work.name)))
    lines = ["", work.title, head, *(_line(results, side, work.name) for side in order)]
    return [*lines, *_again(results, work, order)] if work.delay else lines


def _again(results: Results, work: Workload, sides: list[str]) -> list[str]:
    """How often headers were sent again, which matters where acks take their time."""
    told = []
    for side in sides:
        counted = [each.counters for each in results.rounds[side, work.name].values()]
        sent = sum(each.get("ctproxy_headers", 0) for each in counted)
        again = sum(each.get("ctproxy_headers_again", 0) for each in counted)
        told += [f"{side}: {again:,} headers again, of {sent:,}"] if sent else []
    return told


def table(results: Results) -> str:
    """The table of all workloads; the cheapest side comes first."""
    lines = [
        "Instructions of client, gateway and server together; ratio: speed, as part of plain's",
        *(line for work in WORKLOADS.values() for line in _section(results, work)),
    ]
    return "\n".join(lines)


def overhead(traced: list[Sample]) -> float:
    """The tracer's share in a duration."""
    return min((s.hooks[NOTHING]["instructions"] for s in traced if NOTHING in s.hooks), default=0)


def hook_costs(results: Results) -> list[dict[str, Any]]:
    """For each traced sample: instructions of one call, and of all calls per packet."""
    own = overhead(results.traced)
    found = []
    for sample in results.traced:
        if not sample.hooks.keys() & set(FUNCTIONS):
            continue
        hooks = {name: facts for name, facts in sample.hooks.items() if name != NOTHING}
        calls = {name: facts["instructions"] - own for name, facts in hooks.items()}
        total = sum(hooks[name]["calls"] * each for name, each in calls.items())
        found.append(
            {
                "side": sample.side.name,
                "workload": sample.workload.name,
                "calls": calls,
                "packet": total / sample.packets,
            }
        )
    return found


def hook_table(results: Results) -> str:
    """The table of the module's hooks; empty when nothing was traced."""
    lines = [
        HOOK_COLUMNS.format(row["side"], row["workload"], *numbers)
        for row in hook_costs(results)
        for numbers in [
            [
                *(f"{row['calls'].get(name, 0):.0f}" for name in ("hook_forward", "hook_reply")),
                f"{row['packet']:.0f}",
            ]
        ]
    ]
    head = HOOK_COLUMNS.format("", "", "hook_forward", "hook_reply", "all / packet")
    title = "The module's hooks: instructions of a call, and of all calls for a packet"
    return "\n".join((title, head, *lines)) if lines else ""


def runs_table(results: Results) -> str:
    """The table of the eBPF programs' runs; empty when they were not counted."""
    counted = [sample for sample in results.traced if sample.hooks.keys() & set(WAYS)]
    lines = [
        HOOK_COLUMNS.format(
            sample.side.name,
            sample.workload.name,
            *(f"{sample.hooks[way]['instructions']:.0f}" for way in WAYS),
            "",
        ).rstrip()
        for sample in counted
    ]
    head = HOOK_COLUMNS.format("", "", *WAYS, "").rstrip()
    title = "The eBPF programs: nanoseconds of a run by bpf_stats; in the guest, instructions"
    return "\n".join((title, head, *lines)) if lines else ""


def judge(results: Results, aim: Aim) -> dict[str, Any]:
    """A target, the measured value, and whether the quartiles include it or are better."""
    if aim.most:
        what = f"{aim.side} {aim.workload}: cost over plain, of haproxy's"
        found = results.share(aim.side, aim.workload)
        reached = found and found.low <= aim.most
    else:
        what = f"{aim.side} {aim.workload}: speed, of plain's"
        found = results.ratio(aim.side, aim.workload)
        reached = found and found.high >= aim.least
    bound = f"<= {aim.most}" if aim.most else f">= {aim.least}"
    spread = asdict(found) if found else None
    return {"what": what, "aim": bound, "found": spread, "reached": reached}


def target_line(target: dict[str, Any]) -> str:
    """A line about a target that judge() returned."""
    found = target["found"]
    if not found:
        return f"target: {target['what']} not measured (aim {target['aim']})"
    verdict = "reached" if target["reached"] else "NOT reached"
    return f"target: {target['what']} {found['middle']:.3f} (aim {target['aim']}) {verdict}"


def as_json(results: Results, faults: list[str], facts: dict[str, Any]) -> str:
    """The run as JSON, with every sample."""
    rows = [
        {
            "side": side,
            "workload": work,
            "cost": fmean(results.costs(side, work)),
            "costs": results.costs(side, work),
            "packets": [sample.packets for sample in rounds.values()],
        }
        for (side, work), rounds in results.rounds.items()
    ]
    document = {
        "machine": facts,
        "rows": rows,
        "hooks": hook_costs(results),
        "targets": [judge(results, aim) for aim in AIMS],
        "faults": faults,
    }
    return json.dumps(document, indent=1) + "\n"

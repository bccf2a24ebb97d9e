# SPDX-License-Identifier: MIT
"""Run the kernel tests' cases for the eBPF injector on this machine's kernel.

Ends with the line `N passed, N failed[, N skipped]`. `--full` takes all cases that need no netem;
`--sequences` instead draws that many sequences of an attacker's packets, see attacks/walk.py.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from tests.kernel.guest import endtoend, matrix, named
from tests.kernel.guest.attacks import cases as attacks
from tests.kernel.guest.attacks import walk
from tests.kernel.guest.attacks.attack import attack
from tests.kernel.guest.case import Case, Trial
from tests.kernel.guest.cases_bridges import CALLS
from tests.kernel.guest.injector import Ebpf
from tests.kernel.guest.loads import parallel
from tests.kernel.guest.places import PLACES
from tests.kernel.guest.report import Report
from tests.kernel.guest.run import Runner
from tests.stages.outcomes import FAILED, PASSED, Writer, skip

from .available import unavailable

NOT_HERE = ("flowtable", "other-minute", "two-thousand", "vlan", "wireguard")
"""Cases that need what not every kernel has, or more than a minute."""

PLACES_PLAIN = ("gateway", "gateway6")
WORLDS_FULL = ("kept/", "signed/")
PART = 500
"""Number of sequences that one case draws."""


def _wanted(case: Case, full: bool) -> bool:
    """Whether the run has this case. Without `full` it has some; the guests run all."""
    if case.impairment.netem or any(name in case.name for name in NOT_HERE):
        return False
    if "/bridge/" in case.name and not CALLS.exists():
        return False
    if full:
        return True
    _, place, rest = case.name.split("/", 2)
    if case.suite == attacks.SUITE:
        return place == "gateway" and not rest.startswith(WORLDS_FULL)
    return case.plain and place in PLACES_PLAIN


async def _twenty_thousand(trial: Trial) -> None:
    """20,000 connections, 200 at a time, which would take a guest more than an hour."""
    await trial.talk(parallel(20_000, 200))


def _crowds(injector: Ebpf) -> Iterable[Case]:
    for place in PLACES_PLAIN:
        name = f"ebpf/{place}/twenty-thousand"
        yield Case(
            "crowds", name, injector, PLACES[place], _twenty_thousand, plain=False, limit=600
        )


def _cases(full: bool) -> Iterable[Case]:
    injector = Ebpf()
    every = (
        *matrix.cases(injector, full),
        *named.cases(injector),
        *attacks.cases(injector, full),
        *endtoend.cases(injector, full),
        *_crowds(injector),
    )
    return [case for case in every if _wanted(case, full)]


def _matches(case: Case, patterns: list[str]) -> bool:
    return any(fnmatchcase(case.name, pattern) for pattern in patterns)


def _sequences(count: int, first: int) -> Iterable[Case]:
    """Cases that draw `count` sequences: half of them over IPv6, half with SYN cookies always."""
    injector = Ebpf()
    parts = range(first // PART, (first + count) // PART)
    for part in parts:
        place = PLACES_PLAIN[part % 2]
        function = partial(walk.walk, PART, part)
        body = attack(function, {attacks.COOKIES: 2 * (part % 4 < 2)})
        yield Case("walk", f"ebpf/{place}/{part}", injector, PLACES[place], body, limit=900)


class StageReport(Report):
    """A report that also writes each outcome for tests/stages."""

    def __init__(self, path: Path | None, writer: Writer, full: bool) -> None:
        super().__init__(path)
        self._writer = writer
        self._again = ["-m", "tests.bpf", *(["--full"] if full else []), "--case"]

    def begin(self, suite: str, case: str) -> None:
        super().begin(suite, case)
        self._writer.begin(f"{suite}/{case}")

    def end(self, suite: str, case: str, why: str, seconds: float, facts: dict[str, Any]) -> None:
        super().end(suite, case, why, seconds, facts)
        outcome = FAILED if why else PASSED
        self._writer.end(f"{suite}/{case}", outcome, why, [*self._again, case], seconds)


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="tests.bpf", description=__doc__)
    parser.add_argument("--full", action="store_true", help="all cases that need no netem")
    parser.add_argument("--sequences", type=int, default=0, metavar="N", help="only draw these")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first")
    parser.add_argument("--case", action="append", help="only those whose name matches; repeatable")
    parser.add_argument("-x", "--first-failure", action="store_true", help="end with it")
    parser.add_argument("--report", type=Path, help="JSON lines")
    parser.add_argument("--outcomes", type=Path, help="write each case's, see tests/stages")
    options = parser.parse_args()
    if why := unavailable():
        return skip(options.outcomes, "the eBPF program on this kernel", why)
    if options.sequences:
        cases = _sequences(options.sequences, options.first)
    else:
        cases = [each for each in _cases(options.full) if _matches(each, options.case or ["*"])]
    began = time.monotonic()
    writer = Writer(options.outcomes)
    report = StageReport(options.report, writer, options.full)
    runner = Runner(report)
    try:
        asyncio.run(runner.run(cases, options.first_failure))
    finally:
        runner.close()
    writer.complete()
    print(f"{time.monotonic() - began:.0f} s")
    print(f"\n{report.passed} passed, {report.failed} failed")
    return int(bool(report.failed or not report.passed))


if __name__ == "__main__":
    sys.exit(main())

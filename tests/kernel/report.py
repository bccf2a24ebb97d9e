# SPDX-License-Identifier: MIT
"""Reads the guests' reports, counts the cases and prints them.

A report has one JSON object a line, written by the suite in the guest. A case that begins writes
{"suite": str, "begin": CASE}, which names the case that was running when a guest died. A case that
has ended writes
{"suite": str, "case": str, "ok": bool, "why": str, "seconds": float, "facts": {...}}.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.stages.outcomes import FAILED, NOTHING_RAN, PASSED, SKIPPED, Writer


@dataclass(frozen=True)
class Case:
    """One case of one suite on one kernel."""

    suite: str
    name: str
    ok: bool
    why: str = ""
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict, hash=False, compare=False)
    final: bool = False
    """The kernel's log or the guest's end says so: a second run that passes does not count."""

    def __str__(self) -> str:
        return f"{self.suite}/{self.name}"


@dataclass
class Run:
    """The outcome of one kernel."""

    kernel: str
    """Its name on the command line, such as 6.1."""
    version: str = ""
    """Its `uname -r`."""
    size: tuple[str, ...] = ()
    """--full, --smoke or nothing."""
    cases: list[Case] = field(default_factory=list)
    seconds: float = 0.0
    boot: float = 0.0
    notes: list[str] = field(default_factory=list)
    """Events that are printed and are no failure."""
    skipped: str = ""
    """Why no guest was booted, when that is no failure: apt does not offer this kernel."""

    def fail(self, suite: str, name: str, why: str) -> None:
        """Adds a failure that the suite did not report. A case that failed gets a second reason."""
        for number, case in enumerate(self.cases):
            if (case.suite, case.name, case.ok) == (suite, name, False):
                self.cases[number] = replace(case, why=f"{case.why}\n{why}", final=True)
                return
        self.cases.append(Case(suite, name, False, why, final=True))

    @property
    def failed(self) -> list[Case]:
        return [case for case in self.cases if not case.ok]


def read(path: Path) -> tuple[list[Case], tuple[str, str] | None]:
    """The cases that ended, and suite and name of the one that began and did not end."""
    cases = []
    running = None
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    for line in lines:
        try:
            told = json.loads(line)
        except ValueError:
            continue  # the guest died in the middle of a line
        if "begin" in told:
            running = (told["suite"], told["begin"])
            continue
        running = None
        why, seconds = told.get("why") or "", float(told.get("seconds") or 0)
        facts = told.get("facts") or {}
        cases.append(Case(told["suite"], told["case"], bool(told["ok"]), why, seconds, facts))
    return cases, running


def _suites(cases: Iterable[Case]) -> dict[str, list[Case]]:
    """The cases by suite and helper (the first part of a case's name), in their order."""
    found: dict[str, list[Case]] = {}
    for case in cases:
        helper, slash, _ = case.name.partition("/")
        found.setdefault(f"{case.suite} {helper}" if slash else case.suite, []).append(case)
    return found


def print_run(run: Run) -> None:
    """Prints the table of one kernel, and its failures with their reasons."""
    if run.skipped:
        print(f"\nLinux {run.kernel} is skipped: {run.skipped}")
        return
    print(f"\n{'Linux ' + (run.version or run.kernel):<36} passed  failed  minutes")
    for name, cases in _suites(run.cases).items():
        failed = sum(not case.ok for case in cases)
        minutes = sum(case.seconds for case in cases) / 60
        print(f"  {name:<34} {len(cases) - failed:>6}  {failed:>6}  {minutes:>7.1f}")
    print(f"  booted in {run.boot:.1f} s, {run.seconds / 60:.1f} minutes in all")
    for note in run.notes:
        print(f"  {note}")
    for case in run.failed:
        first, *rest = case.why.splitlines() or ["no reason given"]
        print(f"  FAILED {case}: {first}")
        for line in rest:
            print(f"      {line}")


def print_total(runs: list[Run]) -> int:
    """Prints the last line. Returns the exit status: 0 only when cases ran and all passed.

    NOTHING_RAN when every kernel was skipped.
    """
    failed = sum(len(run.failed) for run in runs)
    passed = sum(len(run.cases) for run in runs) - failed
    skipped = sum(bool(run.skipped) for run in runs)
    print(f"\n{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    if skipped == len(runs):
        return NOTHING_RAN
    return 1 if failed or not passed else 0


def write_outcomes(runs: list[Run], path: Path | None) -> None:
    """Writes each case's outcome for tests/stages."""
    writer = Writer(path)
    for run in runs:
        if run.skipped:
            writer.end(f"Linux {run.kernel}", SKIPPED, run.skipped)
        for case in run.cases:
            again = ["-m", "tests.kernel", "--kernel", run.kernel]
            again += ["--suite", case.suite, "--case", case.name, *run.size]
            writer.end(
                f"{run.kernel} {case}",
                PASSED if case.ok else FAILED,
                case.why,
                again,
                case.seconds,
                case.final,
            )
    writer.complete()

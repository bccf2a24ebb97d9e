# SPDX-License-Identifier: MIT
"""The closing lines of a run: a table of the stages, what failed, and how to run just that."""

from __future__ import annotations

import shlex
from collections import Counter

from .outcomes import FAILED, FLAKY, OUTCOMES, PASSED, SKIPPED, Outcome
from .part import Result
from .stage import Stage

Ran = tuple[Stage, list[Result], float]
"""A stage, the results of its parts, the minutes that it took."""


def show(ran: list[Ran]) -> int:
    """Prints them. Returns the exit status: 0 only when cases ran and none failed."""
    _table(ran)
    every = [each for _, results, _ in ran for result in results for each in result.outcomes]
    reasons = Counter(each.why for each in every if each.outcome == SKIPPED)
    for reason, times in reasons.items():
        first_line = reason.partition("\n")[0]
        print(f"skipped {times}: {first_line[:200]}")
    for each in every:
        if each.outcome in (FAILED, FLAKY):
            _name(each)
    total = _count(every)
    # Programs that read this line know these three words: a flaky case has passed.
    passed = total[PASSED] + total[FLAKY]
    if total[FLAKY]:
        print(f"\nof those that passed {total[FLAKY]} flaky: see above")
    print(f"\n{passed} passed, {total[FAILED]} failed, {total[SKIPPED]} skipped", flush=True)
    return 1 if total[FAILED] or not passed else 0


def _count(outcomes: list[Outcome]) -> Counter[str]:
    return Counter(each.outcome for each in outcomes)


def _table(ran: list[Ran]) -> None:
    print(f"\n{'stage':<12} {'minutes':>8} {'budget':>7}", *(f"{name:>8}" for name in OUTCOMES))
    for stage, results, minutes in ran:
        count = _count([each for result in results for each in result.outcomes])
        over = "  over budget" if minutes > stage.budget else ""
        print(
            f"{stage.name:<12} {minutes:>8.1f} {stage.budget:>7.1f}",
            *(f"{count[name]:>8}" for name in OUTCOMES),
            over,
        )


def _name(outcome: Outcome) -> None:
    print(f"\n{outcome.outcome}: {outcome.case}")
    for line in outcome.why.splitlines()[:3]:
        print(f"    {line[:300]}")
    if outcome.again:
        print(f"    run it: .venv/bin/python {shlex.join(outcome.again)}")

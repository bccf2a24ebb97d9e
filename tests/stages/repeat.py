# SPDX-License-Identifier: MIT
"""Runs a stage, or the tests at some paths, many times, and lists what failed how often.

    make test-repeat N=20 [STAGE=namespaces | TESTS='tests/net/test_demo.py ...'] [LOAD=1]
    python -m tests.stages.repeat [-n 20] [--stage NAME]... [--load] [PATH]...

With LOAD=1 two busy loops run beside the tests. Nothing is tried again: one failure in all the
rounds makes the exit status 1. The logs of a round that failed stay in build/repeat/ROUND/.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess

from tests import ROOT
from tests.lab.ending import Ended, end_in_order

from . import stage as stages
from .outcomes import FAILED, PASSED, Outcome
from .part import Part
from .plan import LIMITS, STAGES
from .stage import Options, Stage

FOLDER = ROOT / "build" / "repeat"

LOOPS = 2
"""As many as the machine has processors that the tests are made for."""


def _spin(last: float) -> None:
    while time.monotonic() < last:
        pass


@contextmanager
def load(loops: int) -> Iterator[list[SpawnProcess]]:
    """Busy loops beside what runs inside; they end by themselves after a day."""
    last = time.monotonic() + 24 * 3600
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_spin, args=(last,), daemon=True) for _ in range(loops)]
    for process in processes:
        process.start()
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.join()


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=20, metavar="N", help="rounds (default 20)")
    parser.add_argument("--stage", action="append", choices=STAGES, help="repeatable")
    parser.add_argument("--load", action="store_true", help=f"beside {LOOPS} busy loops")
    parser.add_argument("paths", nargs="*", metavar="PATH", help="as pytest takes them")
    given = parser.parse_args()
    if bool(given.stage) == bool(given.paths):
        parser.error("name a stage or paths: make test-repeat STAGE=namespaces, or TESTS=PATH")
    chosen = [STAGES[name] for name in given.stage or ()]
    if given.paths:
        chosen = [Stage("paths", 0, (Part("paths", tuple(given.paths)),))]
    end_in_order()
    failures: list[tuple[int, Outcome]] = []
    passed = 0
    shutil.rmtree(FOLDER, ignore_errors=True)
    number = 0
    try:
        with load(LOOPS if given.load else 0):
            for number in range(1, given.n + 1):
                print(f"== round {number} of {given.n}", flush=True)
                for each in _round(number, chosen):
                    passed += each.outcome == PASSED
                    if each.outcome == FAILED:
                        failures.append((number, each))
    except Ended as e:
        print(f"ended by {e.number.name} in round {number}")
        show(number, passed, failures)
        raise
    return show(given.n, passed, failures)


def _round(number: int, chosen: list[Stage]) -> Iterator[Outcome]:
    folder = FOLDER / str(number)
    options = Options(folder, LIMITS["test-kernel"], {"CTWSGI_TEST_FULL": ""})
    failed = False
    for stage in chosen:
        for result in stages.run(stage, options):
            failed |= any(each.outcome == FAILED for each in result.outcomes)
            yield from result.outcomes
    if not failed:
        shutil.rmtree(folder)


def show(rounds: int, passed: int, failures: list[tuple[int, Outcome]]) -> int:
    """Prints what failed how often. Returns the exit status."""
    counts = Counter(each.case for _, each in failures)
    print(f"\n{rounds} rounds: {passed} passed, {len(failures)} failed")
    for case, times in counts.most_common():
        numbers = [str(number) for number, each in failures if each.case == case]
        why = next(each.why for _, each in failures if each.case == case)
        print(f"  {times} of {rounds}: {case} (rounds {', '.join(numbers)})")
        print(f"      {why[:300]}")
    return int(bool(failures) or not passed)


if __name__ == "__main__":
    sys.exit(main())

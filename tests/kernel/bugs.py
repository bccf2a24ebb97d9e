# SPDX-License-Identifier: MIT
"""Each deliberate mistake must turn a case red: a suite that stays green with one is no suite.

    python -m tests.kernel.bugs [--kernel 6.12] [--bug N]... [--suite NAME] [--case GLOB]

CTINJECT_BUG=N on the make line builds mistake N into the module; kmod/ctinject says which at the
places in question. Each is looked for until the first case fails, by default in the part of the
suites that ought to notice it: all of them take an hour, and stop no earlier. Two are of the frame
map alone and cost speed, not bytes; its own tests notice those. Mistakes, not cases, are counted.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from . import boot as guest
from .kernels import SERIES, Kernel, NotOfferedError, first_of
from .suites import add_options, run

LIMIT = 1200

AT_ONCE = 2
"""As with two kernels: a guest keeps about one processor busy."""

FRAMEMAP = "tests/unit/framemap/test_mistakes.py"


@dataclass(frozen=True)
class Part:
    """Of the suites in a guest."""

    helper: str
    suite: str
    case: str = "*"


@dataclass(frozen=True)
class Mistake:
    """What it does, and the part that ought to notice; None: the frame map's own tests."""

    does: str
    part: Part | None


MISTAKES = {
    1: Mistake("a SACK's left edge is mapped as a right one", None),
    2: Mistake("a lost header is not sent again", Part("ctproxy", "matrix", "*/header-lost/*")),
    3: Mistake("what cannot be injected is passed", Part("ctframe", "udp")),
    4: Mistake("the window is that of the ack before", None),
    5: Mistake("a frame is forgotten too early", Part("ctframe", "matrix", "*/loss5/*")),
    6: Mistake("data below the header is passed", Part("ctproxy", "attacks", "*/gateway/[hm]*")),
    7: Mistake("a connection may open twice", Part("ctframe", "attacks", "*/gateway/*")),
    8: Mistake("a flow outlives its conntrack", Part("ctframe", "matrix", "*/keepalive/*")),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument("--kernel", choices=SERIES, help="the newest by default")
    parser.set_defaults(first=True)
    options = parser.parse_args()
    if lacking := guest.lacking():
        print(f"the deliberate mistakes are skipped: install {' '.join(lacking)}")
        print("\n0 passed, 0 failed, 1 skipped")
        return 5
    try:
        kernel = first_of(*([options.kernel] if options.kernel else []))
    except NotOfferedError as error:
        print(f"the deliberate mistakes are skipped: {error}")
        print("\n0 passed, 0 failed, 1 skipped")
        return 5

    def look_for(bug: int) -> tuple[float, str]:
        began = time.monotonic()
        seen = _look_for(bug, kernel, options)
        return time.monotonic() - began, seen

    bugs = [options.bug] if options.bug else list(MISTAKES)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(look_for, bugs))
    print("\n| mistake | | minutes | noticed by |\n| ---: | --- | ---: | --- |")
    for bug, (seconds, seen) in zip(bugs, outcomes, strict=True):
        noticed = seen or "**not noticed**"
        print(f"| {bug} | {MISTAKES[bug].does} | {seconds / 60:.1f} | {noticed} |")
    caught = sum(bool(seen) for _, seen in outcomes)
    print(f"\n{caught} passed, {len(bugs) - caught} failed")
    return 0 if caught == len(bugs) else 1


def _look_for(bug: int, kernel: Kernel, options: argparse.Namespace) -> str:
    """Who noticed; empty when nobody did."""
    part = MISTAKES[bug].part
    chosen = argparse.Namespace(**{**vars(options), "bug": bug})
    if not (options.helper or options.suite or options.case or options.full):
        if not part:
            return _ask_the_framemaps_tests(bug)
        chosen.helper, chosen.suite, chosen.case = part.helper, [part.suite], part.case
    outcome = run(f"bug{bug}", lambda: kernel, chosen, guest.Machine(limit=LIMIT))
    # That it does not build, or the guest not boot, is no merit of the suites.
    seen = [case for case in outcome.failed if case.suite not in ("harness", "guest")]
    return f"{seen[0]}: {seen[0].why.splitlines()[0]}" if seen else ""


def _ask_the_framemaps_tests(bug: int) -> str:
    """They hold when a right map passes a case and one with the mistake fails it."""
    tests = ("test_a_case_of_its_own", "test_the_search_finds_it", "test_the_walks_find_it")
    command = [sys.executable, "-m", "pytest", "-q", *(f"{FRAMEMAP}::{t}[{bug}]" for t in tests)]
    done = subprocess.run(command, cwd=guest.ROOT, capture_output=True, text=True)
    print(done.stdout, end="", flush=True)
    return "" if done.returncode else f"{FRAMEMAP}: a case, the search, the walks"


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MIT
"""Build each deliberate mistake into the kernel module: one of the cases must fail.

Each mistake is tried until the first case fails, by default with the cases that should notice it;
with --full, --helper, --suite or --case with the cases that these choose. The last line counts
mistakes, not cases.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.kernel import boot as guest
from tests.kernel.kernels import SERIES, Kernel, NotOfferedError, first_of
from tests.kernel.suites import add_options, run
from tests.mistakes import numbered, title
from tests.stages.outcomes import FAILED, PASSED, Writer, skip

from . import PARTS, PATCHES

LIMIT = 1200
"""Seconds for the cases of one mistake."""

AT_ONCE = 2
"""Guests side by side. Each keeps about one processor busy."""

FRAMEMAP = "tests/unit/framemap/test_mistakes.py"

NAME = "the module's deliberate mistakes"

BROKEN = ("harness", "guest")
"""Suites whose failure shows no mistake: a patch that does not apply, a failed build or boot."""


@dataclass(frozen=True)
class Noticed:
    """`by`: the first case that failed, and why. `problem`: why the mistake was not noticed."""

    by: str = ""
    problem: str = ""
    seconds: float = 0.0


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(
        prog="tests.kernel.mistakes", description=__doc__.splitlines()[0]
    )
    add_options(parser)
    parser.add_argument(
        "--mistake", type=int, action="append", choices=PARTS, help="only this one; repeatable"
    )
    parser.add_argument("--outcomes", type=Path, help="write each outcome, see tests/stages")
    parser.add_argument("--kernel", choices=SERIES, help="the newest by default")
    parser.set_defaults(first=True)
    options = parser.parse_args()
    if lacking := guest.lacking():
        return skip(options.outcomes, NAME, f"install {' '.join(lacking)}")
    try:
        kernel = first_of(*([options.kernel] if options.kernel else []))
    except NotOfferedError as error:
        return skip(options.outcomes, NAME, str(error))

    writer = Writer(options.outcomes)

    def look_for(mistake: int) -> Noticed:
        name = f"mistake {mistake}"
        writer.begin(name)
        found = _look_for(mistake, kernel, options)
        again = ("-m", "tests.kernel.mistakes", "--mistake", str(mistake))
        outcome = FAILED if found.problem else PASSED
        writer.end(name, outcome, found.problem, again, found.seconds)
        return found

    mistakes = options.mistake or list(PARTS)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(look_for, mistakes))
    writer.complete()
    patches = numbered(PATCHES)
    print("\n| mistake | | minutes | noticed by |\n| ---: | --- | ---: | --- |")
    for mistake, found in zip(mistakes, outcomes, strict=True):
        by = f"**{found.problem}**" if found.problem else found.by
        print(f"| {mistake} | {title(patches[mistake])} | {found.seconds / 60:.1f} | {by} |")
    caught = sum(not found.problem for found in outcomes)
    print(f"\n{caught} passed, {len(mistakes) - caught} failed")
    return 0 if caught == len(mistakes) else 1


def _look_for(mistake: int, kernel: Kernel, options: argparse.Namespace) -> Noticed:
    began = time.monotonic()
    chosen = argparse.Namespace(**vars(options))
    says = ""
    if not (options.helper or options.suite or options.case or options.full):
        part = PARTS[mistake]
        if part is None:
            by, problem = _ask_the_frame_maps_tests(mistake)
            return Noticed(by, problem, time.monotonic() - began)
        chosen.helper, chosen.suite, chosen.case = part.helper, [part.suite], part.case
        says = part.says
    machine = guest.Machine(limit=LIMIT)
    outcome = run(f"mistake{mistake}", lambda: kernel, chosen, machine, mistake=mistake)
    told = [(case.suite, f"{case}: {case.why.splitlines()[0]}") for case in outcome.failed]
    by = next((line for suite, line in told if suite not in BROKEN and says in line), "")
    problem = "" if by else told[0][1] if told else "not noticed"
    if problem and says:
        problem = f"no word of {says!r}: {problem}"
    return Noticed(by, problem, time.monotonic() - began)


def _ask_the_frame_maps_tests(mistake: int) -> tuple[str, str]:
    """Who noticed, and the problem if nobody did. The tests pass if each part of them noticed."""
    tests = ("test_a_case_of_its_own", "test_the_search_finds_it", "test_the_walks_find_it")
    cases = [f"{FRAMEMAP}::{test}[{mistake}]" for test in tests]
    command = [sys.executable, "-m", "pytest", "-q", *cases]
    done = subprocess.run(command, cwd=guest.ROOT, capture_output=True, text=True)
    print(done.stdout, end="", flush=True)
    if done.returncode:
        return "", f"{FRAMEMAP}: exit status {done.returncode}"
    return f"{FRAMEMAP}: a case, the search, the walks", ""


if __name__ == "__main__":
    sys.exit(main())

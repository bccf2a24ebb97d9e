# SPDX-License-Identifier: MIT
"""`make test-kernel`: builds the module, boots each kernel once, runs the suites, adds them up.

    python -m tests.kernel [--full | --smoke] [--kernel 6.1] [--suite NAME] [--case GLOB]
                           [--mistake N]

The newest kernel of Debian's archive has only the smoke run, unless options ask for more. `--smoke`
leaves it out, so that `make test` needs no archive but the machine's own.

The exit status is 0 only when cases ran and all passed. It is 5, as pytest's, when this machine
cannot run any. The smoke run's cases are in guest/smoke.py.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.stages.outcomes import skip

from . import boot, report
from .kernels import SERIES
from .mistakes import PARTS
from .newest import NAME, NAMES, TESTED, named
from .suites import add_options, run

# Seconds for the suites of one guest. Generous, because a guest that hangs is silent and ends at
# Machine.silence.
LIMIT, FULL_LIMIT = 1200, 3 * 3600

AT_ONCE = 2
"""Guests side by side. Each keeps about one processor busy."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument("--kernel", action="append", choices=NAMES, help="only this one")
    parser.add_argument(
        "--mistake", type=int, default=0, choices=PARTS, help="with this deliberate mistake"
    )
    parser.add_argument("--limit", type=float, help="seconds for a guest's suites")
    parser.add_argument("--outcomes", type=Path, help="write them for tests/stages")
    options = parser.parse_args()
    if lacking := boot.lacking():
        return skip(options.outcomes, "the kernel's tests", f"install {' '.join(lacking)}")
    machine = boot.Machine(limit=options.limit or (FULL_LIMIT if options.full else LIMIT))

    chosen = options.kernel or options.suite or options.case

    def run_kernel(name: str) -> report.Run:
        cases = argparse.Namespace(**vars(options))
        cases.smoke |= name == NAME and not (options.full or chosen)
        return run(name, lambda: named(name), cases, machine, mistake=options.mistake)

    names = options.kernel or (SERIES if options.smoke else TESTED)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = list(pool.map(run_kernel, names))
    for one in runs:
        report.print_run(one)
    report.write_outcomes(runs, options.outcomes)
    return report.print_total(runs)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        os._exit(130)  # without waiting for the guests: they die with us

# SPDX-License-Identifier: MIT
"""`make test-kernel`: builds the module, boots each kernel once, runs the suites, adds them up.

    python -m tests.kernel [--full | --smoke] [--kernel 6.1] [--suite NAME] [--case GLOB]
                           [--mistake N]

The exit status is 0 only when cases ran and all passed. It is 5, as pytest's, when this machine
cannot run any. `--smoke` runs the cases of guest/smoke.py.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.stages.outcomes import skip

from . import boot, report
from .kernels import REALTIME, SERIES, get
from .mistakes import PARTS
from .suites import add_options, run

# Seconds for the suites of one guest. Generous, because a guest that hangs is silent and ends at
# Machine.silence.
LIMIT, FULL_LIMIT = 1200, 3 * 3600


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument(
        "--kernel", action="append", choices=SERIES | REALTIME, help="only this one"
    )
    parser.add_argument(
        "--mistake", type=int, default=0, choices=PARTS, help="with this deliberate mistake"
    )
    parser.add_argument("--limit", type=float, help="seconds for a guest's suites")
    parser.add_argument("--outcomes", type=Path, help="write them for tests/stages")
    options = parser.parse_args()
    if lacking := boot.lacking():
        return skip(options.outcomes, "the kernel's tests", f"install {' '.join(lacking)}")
    machine = boot.Machine(limit=options.limit or (FULL_LIMIT if options.full else LIMIT))

    def run_kernel(series: str) -> report.Run:
        return run(series, lambda: get(series), options, machine, mistake=options.mistake)

    names = options.kernel or list(SERIES)
    with ThreadPoolExecutor(len(names)) as pool:
        runs = list(pool.map(run_kernel, names))
    for one in runs:
        report.print_run(one)
    size = [f"--{name}" for name in ("full", "smoke") if vars(options)[name]]
    report.write_outcomes(runs, options.outcomes, *size)
    return report.print_total(runs)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        os._exit(130)  # without waiting for the guests: they die with us

# SPDX-License-Identifier: MIT
"""Runs the stages of a make target and adds up what they tell.

    python -m tests.stages {test|test-kernel|test-full} [--stage NAME]... [--coverage]

The logs of all parts stay in build/tests/. The exit status is 0 only when no case failed. With
CI=true in the environment a case that failed is run once more, alone, see stage.py.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from tests import ROOT
from tests.lab.ending import Ended, end_if_told, end_in_order

from . import stage as stages
from . import summary
from .plan import LIMITS, STAGES, TARGETS

FOLDER = ROOT / "build" / "tests"


def report_coverage() -> None:
    """The figure, and the lines that no test reaches."""
    # Quiet about the file of a process that a test killed while it was writing.
    quiet = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([sys.executable, "-m", "coverage", "combine", "--quiet"], **quiet)
    subprocess.run([sys.executable, "-m", "coverage", "report"], cwd=ROOT)


def main() -> int:
    """Returns the exit status."""
    end_in_order()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--stage", action="append", choices=STAGES, help="only this one")
    parser.add_argument("--coverage", action="store_true", help="slower; ends with the figure")
    given = parser.parse_args()
    full = given.target == "test-full"
    options = stages.Options(
        FOLDER,
        LIMITS[given.target],
        {"CTWSGI_TEST_FULL": "1" if full else ""},
        coverage=given.coverage,
        retry=os.environ.get("CI") == "true",
    )
    ran: list[summary.Ran] = []
    for stage in TARGETS[given.target]:
        if given.stage and stage.name not in given.stage:
            continue
        print(f"== {stage.name}", flush=True)
        began = time.monotonic()
        results = stages.run(stage, options)
        ran.append((stage, results, (time.monotonic() - began) / 60))
    if given.coverage:
        report_coverage()
    end_if_told()
    return summary.show(ran)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Ended as e:
        print(f"ended by {e.number.name}", file=sys.stderr)
        raise

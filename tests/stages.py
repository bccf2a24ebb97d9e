"""`make test`: runs the stages, prints how long each took and what it was allowed, adds them up.

    python -m tests.stages [--full] [--no-coverage]

The exit status is 0 only when every stage passed. Budgets are minutes on two cores; one that is
overrun is said and is no failure, because machines are shared.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build"


@dataclass(frozen=True)
class Stage:
    """A name, a budget in minutes, and what pytest is given. Linters come with the first stage.

    The two processes that share a stage never meet: each test has ports and namespaces of its own.
    """

    name: str
    budget: float
    paths: tuple[str, ...]
    lint: bool = False


STAGES = (
    Stage("Python", 3, ("tests/unit", "tests/http", "tests/serve", "bench"), lint=True),
    Stage("namespaces", 4, ("tests/net",)),
)
PROCESSES = 2

LINTERS = (
    ("ruff format", ["ruff", "format", "--check", "--quiet", "."]),
    ("ruff check", ["ruff", "check", "--quiet", "."]),
    ("mypy --strict", ["mypy", "--no-error-summary"]),
)


@dataclass
class Count:
    """Test cases by outcome."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __iadd__(self, other: Count) -> Count:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        return self


def lint() -> Count:
    """One case per linter."""
    count = Count()
    for name, command in LINTERS:
        status = subprocess.run([sys.executable, "-m", *command], cwd=ROOT).returncode
        print(f"{name}: {'failed' if status else 'ok'}", flush=True)
        count += Count(failed=1) if status else Count(passed=1)
    return count


def run_pytest(stage: Stage, full: bool, coverage: bool) -> Count:
    """Runs pytest in a process of its own and reads the outcome from its JUnit file."""
    tool = ["-m", "coverage", "run", "-m", "pytest"] if coverage else ["-m", "pytest"]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        share = ["-n", str(PROCESSES), "--dist=loadfile"]
        command = [sys.executable, *tool, *stage.paths, *share, f"--junitxml={report}", "-rs"]
        environ = {**os.environ, "CTWSGI_TEST_FULL": "1" if full else ""}
        status = subprocess.run(command, cwd=ROOT, env=environ).returncode
        if not report.exists():
            return Count(failed=1)
        suites = ET.parse(report).getroot()
        totals = {key: sum(int(s.get(key, 0)) for s in suites) for key in _KEYS}
    failed = totals["failures"] + totals["errors"]
    passed = totals["tests"] - failed - totals["skipped"]
    return Count(passed, failed or int(status not in (0, 5)), totals["skipped"])


_KEYS = ("tests", "failures", "errors", "skipped")


def report_coverage() -> None:
    """The figure, and the lines that no test reaches."""
    quiet = {"cwd": ROOT, "stdout": subprocess.DEVNULL}
    subprocess.run([sys.executable, "-m", "coverage", "combine", "--quiet"], **quiet)
    subprocess.run([sys.executable, "-m", "coverage", "report"], cwd=ROOT)


def main() -> int:
    """Runs the stages in order. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="also the cases that take minutes")
    parser.add_argument("--no-coverage", action="store_true", help="faster, and no figure")
    options = parser.parse_args()
    BUILD.mkdir(exist_ok=True)
    total = Count()
    table = []
    for stage in STAGES:
        print(f"== {stage.name}", flush=True)
        began = time.monotonic()
        count = lint() if stage.lint else Count()
        count += run_pytest(stage, options.full, not options.no_coverage)
        table.append((stage, (time.monotonic() - began) / 60, count))
        total += count
    if not options.no_coverage:
        report_coverage()
    print(f"\n{'stage':<12} {'minutes':>8} {'budget':>7}  passed  failed  skipped")
    for stage, minutes, count in table:
        over = "  over budget" if minutes > stage.budget and not options.full else ""
        print(
            f"{stage.name:<12} {minutes:>8.1f} {stage.budget:>7.0f}  {count.passed:>6}"
            f"  {count.failed:>6}  {count.skipped:>7}{over}"
        )
    print(f"\n{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MIT
"""`make test`: runs the stages, prints how long each took and what it was allowed, adds them up.

    python -m tests.stages [--full] [--no-coverage]

The exit status is 0 only when every stage passed. Budgets are minutes on two cores; one that is
overrun is said and is no failure, because machines are shared.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from tests import ROOT

BUILD = ROOT / "build"


@dataclass(frozen=True)
class Stage:
    """A name, a budget in minutes, and what is run. Linters come with the first stage.

    `namespaces` takes the tests of whole processes along, which have the same habit of waiting.

    The shards run side by side, each a pytest of its own: every test has its own ports and
    namespaces. So do the commands: modules that end with the line `N passed, N failed[, N
    skipped]`, and know --full.
    """

    name: str
    budget: float
    shards: tuple[tuple[str, ...], ...]
    commands: tuple[str, ...] = ()
    lint: bool = False
    only_full: bool = False
    """Run by --full alone, which its commands are then not told."""


# These wait, or move gigabytes: beside the tables of requests, not behind them.
_LONG = tuple(
    f"tests/http/test_{name}.py" for name in ("memory", "deadlines", "hostile", "hostile_state")
)

_TRAFFIC = "tests/bpf/test_traffic.py"
"""Half a minute: the shards are to end together."""

_GATEWAY = tuple(f"tests/portal/{p.name}" for p in ROOT.glob("tests/portal/test_gateway_*.py"))

STAGES = (
    Stage(
        "Python",
        3,
        (
            ("tests/http", *(f"--ignore={path}" for path in _LONG)),
            ("tests/unit", "bench", *_LONG),
        ),
        lint=True,
    ),
    Stage(
        "namespaces",
        4,
        (
            ("tests/net", _TRAFFIC),
            ("tests/serve", "tests/bpf", f"--ignore={_TRAFFIC}"),
        ),
        ("tests.bpf",),
    ),
    Stage(
        "portal",
        5,
        (
            ("tests/portal", *(f"--ignore={path}" for path in _GATEWAY)),
            (*_GATEWAY, "tests/browser"),
        ),
    ),
    Stage("guests", 12, (("tests/kernel",),), commands=("tests.kernel",)),
    Stage("mistakes", 15, (), ("tests.kernel.mistakes", "tests.bpf.mistakes"), only_full=True),
)

LIMIT, FULL_LIMIT = 1800, 4 * 3600
"""Seconds after which what does not end is killed, and has failed."""

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


class Process:
    """A running part of a stage, whose output is kept until it has ended."""

    def __init__(self, command: list[str], full: bool) -> None:
        self._limit = FULL_LIMIT if full else LIMIT
        self._folder = tempfile.TemporaryDirectory()
        self._report = Path(self._folder.name) / "report.xml"
        self._output = Path(self._folder.name) / "output"
        environ = {**os.environ, "CTWSGI_TEST_FULL": "1" if full else ""}
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, *(word.format(report=self._report) for word in command)],
                cwd=ROOT,
                env=environ,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def outcome(self) -> Count:
        """Waits for the end, prints the output, reads the count."""
        try:
            status = self._process.wait(self._limit)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
            print(f"killed after {self._limit} s", flush=True)
        output = self._output.read_bytes()
        sys.stdout.flush()
        sys.stdout.buffer.write(output)
        sys.stdout.flush()
        with self._folder:
            count = self._count(output.decode(errors="replace"))
        if count is None:
            return Count(failed=1)
        # 5 is for both kinds: nothing was there to run.
        count.failed = count.failed or int(status not in (0, 5))
        return count

    def _count(self, output: str) -> Count | None:
        """By outcome; None when there is no telling."""
        raise NotImplementedError


class Shard(Process):
    """A pytest, which counts in a JUnit file."""

    def __init__(self, paths: tuple[str, ...], full: bool, coverage: bool) -> None:
        tool = ["-m", "coverage", "run", "-m", "pytest"] if coverage else ["-m", "pytest"]
        super().__init__([*tool, *paths, "--junitxml={report}", "-rs"], full)

    def _count(self, output: str) -> Count | None:
        if not self._report.exists():
            return None
        suites = ET.parse(self._report).getroot()
        totals = {key: sum(int(s.get(key, 0)) for s in suites) for key in _KEYS}
        failed = totals["failures"] + totals["errors"]
        return Count(totals["tests"] - failed - totals["skipped"], failed, totals["skipped"])


class Command(Process):
    """A module that counts in its last line."""

    def __init__(self, module: str, full: bool, told: bool) -> None:
        super().__init__(["-m", module, *(["--full"] if told else [])], full)

    def _count(self, output: str) -> Count | None:
        last = output.rstrip().rpartition("\n")[2]
        told = re.fullmatch(r"(\d+) passed, (\d+) failed(?:, (\d+) skipped)?", last)
        return Count(*(int(number or 0) for number in told.groups())) if told else None


_KEYS = ("tests", "failures", "errors", "skipped")


def report_coverage() -> None:
    """The figure, and the lines that no test reaches."""
    # Quiet about the file of a process that a test killed while it was writing.
    quiet = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([sys.executable, "-m", "coverage", "combine", "--quiet"], **quiet)
    subprocess.run([sys.executable, "-m", "coverage", "report"], cwd=ROOT)


def main() -> int:
    """Runs the stages in order. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="more examples for each property")
    parser.add_argument("--no-coverage", action="store_true", help="faster, and no figure")
    options = parser.parse_args()
    BUILD.mkdir(exist_ok=True)
    total = Count()
    table = []
    for stage in STAGES:
        if stage.only_full and not options.full:
            continue
        print(f"== {stage.name}", flush=True)
        began = time.monotonic()
        told = options.full and not stage.only_full
        parts: list[Process] = [Command(name, options.full, told) for name in stage.commands]
        parts += [Shard(s, options.full, not options.no_coverage) for s in stage.shards]
        count = lint() if stage.lint else Count()
        for part in parts:
            count += part.outcome()
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

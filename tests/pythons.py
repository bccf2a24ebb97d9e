# SPDX-License-Identifier: MIT
"""`make test-pythons`: the unit, protocol and serve tests on each supported Python of this machine.

    python -m tests.pythons [3.N]...

An interpreter is found in PATH and in pyenv's folder; tests/setup has installed those that apt
offers. Each has its own environment and log in build/pythons/. The exit status is 0 only when tests
ran and all passed; 5, as pytest's, when no interpreter is here.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests import ROOT
from tests.stages.outcomes import NOTHING_RAN

VERSIONS = tuple(f"3.{minor}" for minor in range(10, 15))
"""From the lower bound in pyproject.toml to the newest for which gevent has wheels."""

TESTS = ("tests/unit", "tests/http", "tests/serve")
FOLDER = ROOT / "build" / "pythons"
LIMIT = 1800
"""Seconds for the tests of one version."""

AT_ONCE = 2
"""The tests wait about as long as they compute."""


ADVICE = "apt-get install python3.N python3.N-venv where apt has it, else pyenv install 3.N"


class SetUpError(Exception):
    """An environment cannot be made; the text is what the failed command printed."""


@dataclass(frozen=True)
class Outcome:
    """What one version's tests came to."""

    version: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    why: str = ""
    """The reason for a failure that no test case has."""

    def __str__(self) -> str:
        counts = f"{self.passed:>6}  {self.failed:>6}  {self.skipped:>7}  {self.seconds / 60:>7.1f}"
        return f"{self.version:<8} {counts}  {self.why}".rstrip()


def find(version: str) -> Path | None:
    """An interpreter of this version that can make environments."""
    name = f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    folders = [Path(folder) for folder in os.get_exec_path()]
    folders += sorted(pyenv.glob(f"{version}.*/bin"), reverse=True)
    ask = "import ensurepip, venv, sys; print('%d.%d' % sys.version_info[:2])"
    for path in (folder / name for folder in folders):
        # A shim of pyenv's is there whether its version is enabled or not.
        if os.access(path, os.X_OK):
            told = subprocess.run([path, "-c", ask], capture_output=True, text=True)
            if told.stdout.strip() == version:
                return path
    return None


def environment(version: str, interpreter: Path) -> Path:
    """The interpreter of an environment with the project in it, made where it is not there yet."""
    place = FOLDER / version
    python = place / "bin" / "python"
    stamp = place / "ready"
    projects = [ROOT / "pyproject.toml", ROOT / "demo_app" / "pyproject.toml"]
    made = stamp.stat().st_mtime if stamp.exists() else 0.0
    if made > max(path.stat().st_mtime for path in projects):
        return python
    pip = [str(python), "-m", "pip", "install", "-q"]
    for command in (
        [str(interpreter), "-m", "venv", "--clear", str(place)],
        [*pip, "-U", "pip>=25.1", "hatchling>=1.27", "editables"],
        [*pip, "--no-build-isolation", "-e", ".", "-e", "./demo_app", "--group", "test"],
    ):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise SetUpError(done.stdout + done.stderr)
    stamp.touch()
    return python


def run(version: str, interpreter: Path) -> Outcome:
    """Makes the environment and runs the tests in it; their output goes to the log."""
    began = time.monotonic()
    log, report = FOLDER / f"{version}.log", FOLDER / f"{version}.xml"
    report.unlink(missing_ok=True)
    try:
        python = environment(version, interpreter)
        with log.open("wb") as output:
            status = subprocess.run(
                [python, "-m", "pytest", *TESTS, f"--junitxml={report}", "-p", "no:cacheprovider"],
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=LIMIT,
            ).returncode
    except SetUpError as error:
        log.write_text(str(error))
        outcome = Outcome(version, failed=1, why=f"no environment: {log.relative_to(ROOT)}")
    except subprocess.TimeoutExpired:
        outcome = Outcome(version, failed=1, why=f"killed after {LIMIT} s")
    else:
        outcome = count(version, status, report, time.monotonic() - began)
    print(outcome, flush=True)
    return outcome


def count(version: str, status: int, report: Path, seconds: float) -> Outcome:
    """Reads pytest's report. A status that the report does not explain is a failure."""
    if not report.exists():
        return Outcome(version, failed=1, seconds=seconds, why=f"pytest ended with {status}")
    suites = list(ET.parse(report).getroot())
    tests, failures, errors, skipped = (
        sum(int(suite.get(key, 0)) for suite in suites)
        for key in ("tests", "failures", "errors", "skipped")
    )
    failed = failures + errors
    why = f"see build/pythons/{version}.log" if failed or status else ""
    passed = tests - failed - skipped
    return Outcome(version, passed, failed or int(status != 0), skipped, seconds, why)


def failed_cases(version: str) -> list[str]:
    """The lines in which pytest names what failed."""
    log = FOLDER / f"{version}.log"
    return re.findall(r"^(?:FAILED|ERROR) .*", log.read_text(errors="replace"), re.MULTILINE)


def main() -> int:
    """Runs them, two at a time; a line as each ends, and then what failed and what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("version", nargs="*", help=f"only these of {VERSIONS}")
    wanted = parser.parse_args().version or VERSIONS
    FOLDER.mkdir(parents=True, exist_ok=True)
    found = {version: path for version in wanted if (path := find(version))}
    print("python   passed  failed  skipped  minutes", flush=True)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(lambda version: run(version, found[version]), found))
    for outcome in outcomes:
        if outcome.failed:
            print(f"\nPython {outcome.version}: {found[outcome.version]}")
            print(*failed_cases(outcome.version), sep="\n")
    if absent := [version for version in wanted if version not in found]:
        print(f"\nnot here: Python {', '.join(absent)}. {ADVICE}")
    passed, failed, skipped = (
        sum(getattr(outcome, key) for outcome in outcomes)
        for key in ("passed", "failed", "skipped")
    )
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped")
    if not outcomes:
        return NOTHING_RAN
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())

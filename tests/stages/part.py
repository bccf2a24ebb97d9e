# SPDX-License-Identifier: MIT
"""One running part of a stage: a process, the log of what it prints, the outcomes that it writes.

A part that ends in another way than its outcomes tell has failed: killed by its time limit, ended
by a signal or an internal error, or without a single case.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests import ROOT

from .outcomes import FAILED, PASSED, SKIPPED, Outcome, read
from .plugin import VARIABLE

NOTHING_RAN = 5
"""pytest's exit status when it has selected no test; our own commands use it as well."""


@dataclass(frozen=True)
class Part:
    """What is run: tests by their paths, or a module of our own that knows `--outcomes FILE`."""

    name: str
    paths: tuple[str, ...] = ()
    """pytest's arguments."""
    module: tuple[str, ...] = ()
    """A module and its arguments."""
    alone: bool = False
    """Keeps two processors busy by itself."""

    def words(self, outcomes: Path, coverage: bool) -> list[str]:
        """What comes after `python`."""
        if self.module:
            return ["-m", *self.module, "--outcomes", str(outcomes)]
        tool = ["-m", "coverage", "run", "-m", "pytest"] if coverage else ["-m", "pytest"]
        return [*tool, "-p", "tests.stages.plugin", *self.paths]


@dataclass
class Result:
    """What became of a part."""

    part: Part
    outcomes: list[Outcome]
    seconds: float
    log: Path
    notes: list[str] = field(default_factory=list)


class RunningPart:
    """Started by the constructor. `folder` gets NAME.log and NAME.jsonl."""

    def __init__(
        self,
        part: Part,
        folder: Path,
        *,
        limit: float,
        environ: Mapping[str, str] | None = None,
        coverage: bool = False,
    ) -> None:
        self.part = part
        self._began = time.monotonic()
        self.limit = limit
        """Seconds, counted from the start."""
        self._log = folder / f"{part.name}.log"
        self._file = folder / f"{part.name}.jsonl"
        self._file.unlink(missing_ok=True)
        self._told = {**os.environ, **(environ or {}), VARIABLE: str(self._file)}
        self._words = part.words(self._file, coverage)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._words],
                cwd=ROOT,
                env=self._told,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._killed = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> Result | None:
        """The result, once the process has ended. Kills it when its time is up."""
        if time.monotonic() - self._began > self.limit and not self._killed:
            self._killed = True
            self._process.kill()
        if self._process.poll() is None:
            return None
        return Result(self.part, self._outcomes(), time.monotonic() - self._began, self._log)

    def kill(self) -> None:
        """For a run that is given up."""
        self._process.kill()
        self._process.wait()

    def state(self) -> str:
        """One line: how far it is."""
        outcomes, running = read(self._file)
        failed = sum(each.outcome == FAILED for each in outcomes)
        seconds = time.monotonic() - self._began
        at = running or self._last_line()
        return f"{self.part.name}: {seconds:.0f} s, {len(outcomes)} done, {failed} failed; {at}"

    def _last_line(self) -> str:
        lines = self._log.read_bytes()[-2000:].decode(errors="replace").split("\n")
        return next((line.strip()[:120] for line in reversed(lines) if line.strip()), "")

    def _outcomes(self) -> list[Outcome]:
        outcomes, running = read(self._file)
        status = self._process.returncode
        failed = any(each.outcome == FAILED for each in outcomes)
        why = ""
        if self._killed:
            why = f"killed after {self.limit:.0f} s"
        elif status == NOTHING_RAN:
            if not outcomes:
                outcomes.append(Outcome(self.part.name, SKIPPED, self._last_line()))
        elif status and not failed:
            why = f"ended with status {status}: {self._last_line()}"
        elif not status and not any(each.outcome in (PASSED, SKIPPED) for each in outcomes):
            why = "ran no test"
        if why:
            again = ("-m", "pytest", running) if running and self.part.paths else ()
            outcomes.append(Outcome(running or self.part.name, FAILED, why, again))
        return outcomes

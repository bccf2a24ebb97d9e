# SPDX-License-Identifier: MIT
"""One running part of a stage: a process, the log of what it prints, the outcomes that it writes.

A part that does not reach its end has failed as a whole, whatever its cases tell: it was killed at
its time limit, died of a signal or of an error of its own, or could not read a test file. That
failure is final, because nobody knows what the cases that did not run would have told.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests import ROOT

from .outcomes import FAILED, NOTHING_RAN, SKIPPED, Outcome, read
from .plugin import VARIABLE

GRACE = 20.0
"""Seconds from SIGINT, on which the fixtures of a part end what they have started, to SIGKILL."""


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

    @property
    def again(self) -> tuple[str, ...]:
        """What a person types after `python` to run it."""
        return ("-m", *(self.module or ("pytest", *self.paths)))

    def words(self, outcomes: Path, coverage: bool) -> list[str]:
        """What comes after `python`."""
        if self.module:
            return [*self.again, "--outcomes", str(outcomes)]
        tool = ["-m", "coverage", "run"] if coverage else []
        return [*tool, *self.again, "-p", "tests.stages.plugin"]


@dataclass
class Result:
    """How a part ended."""

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
                start_new_session=True,  # only interrupt() sends it SIGINT, not Ctrl-C as well
            )
        self._interrupted = 0.0
        """When SIGINT was sent; 0: not yet."""

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> Result | None:
        """The result, once the process has ended. Ends it when its time is up."""
        if time.monotonic() - self._began > self.limit:
            self.interrupt()
        if self._interrupted and time.monotonic() - self._interrupted > GRACE:
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._process.poll() is None:
            return None
        return Result(self.part, self._outcomes(), time.monotonic() - self._began, self._log)

    def interrupt(self) -> None:
        """Tells it to end, once. poll() kills it if it does not."""
        if not self._interrupted and self._process.poll() is None:
            self._interrupted = time.monotonic()
            self._process.send_signal(signal.SIGINT)

    def state(self) -> str:
        """One line: how far it is."""
        told = read(self._file)
        failed = sum(each.outcome == FAILED for each in told.outcomes)
        facts = [f"{self.part.name}: {time.monotonic() - self._began:.0f} s"]
        if told.outcomes or told.running:  # a module of our own tells them at its end
            facts.append(f"{len(told.outcomes)} done, {failed} failed")
        return "; ".join(filter(None, (", ".join(facts), told.running or self._last_line())))

    def _last_line(self) -> str:
        lines = self._log.read_bytes()[-2000:].decode(errors="replace").split("\n")
        return next((line.strip()[:120] for line in reversed(lines) if line.strip()), "")

    def _outcomes(self) -> list[Outcome]:
        told = read(self._file)
        outcomes, status = told.outcomes, self._process.returncode
        if status == NOTHING_RAN and told.complete and not outcomes:
            return [Outcome(self.part.name, SKIPPED, "nothing was selected")]
        if why := self._early_end(told.complete, status):
            where = f" in {told.running}" if told.running else ""
            outcomes.append(self._failure(f"{why}{where}; {self._last_line()}"))
        elif status not in (0, NOTHING_RAN) and all(each.outcome != FAILED for each in outcomes):
            outcomes.append(self._failure(f"exit status {status}, but no case has failed"))
        return outcomes

    def _failure(self, why: str) -> Outcome:
        return Outcome(self.part.name, FAILED, why, self.part.again, final=True)

    def _early_end(self, complete: bool, status: int) -> str:
        if self._interrupted:
            return f"not done within {self.limit:g} s: ended"
        if status < 0:
            return f"died of {signal.Signals(-status).name}"
        if not complete or status not in (0, 1, NOTHING_RAN):
            return f"ended early with status {status}"
        return ""

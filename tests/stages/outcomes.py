# SPDX-License-Identifier: MIT
"""The file in which a part of a stage writes what happens to each of its cases.

One JSON object a line. {"begin": NAME} when a case starts, so that a reader can say where a part
hangs; {"case": NAME, "outcome": ..., "why": ..., "again": [...], "seconds": ...} when it has ended.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PASSED, FAILED, FLAKY, SKIPPED = "passed", "failed", "flaky", "skipped"

OUTCOMES = (PASSED, FAILED, FLAKY, SKIPPED)
"""`flaky`: failed, and passed when it was run again alone. Only CI runs cases again."""


@dataclass(frozen=True)
class Outcome:
    """One case's."""

    case: str
    outcome: str
    why: str = ""
    again: tuple[str, ...] = ()
    """The words after `python` that run this case alone; empty: nothing can."""
    seconds: float = 0.0


class Writer:
    """Appends to the file at `path`; None: writes nothing."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("a", buffering=1) if path else None

    def begin(self, case: str) -> None:
        self._write({"begin": case})

    def end(
        self,
        case: str,
        outcome: str,
        why: str = "",
        again: Sequence[str] = (),
        seconds: float = 0.0,
    ) -> None:
        told = {"case": case, "outcome": outcome, "why": why, "again": list(again)}
        self._write({**told, "seconds": round(seconds, 2)})

    def _write(self, told: object) -> None:
        if self._file:
            self._file.write(json.dumps(told) + "\n")


def read(path: Path) -> tuple[list[Outcome], str]:
    """The outcomes so far, and the case that has begun and not ended ("": none)."""
    outcomes: list[Outcome] = []
    running = ""
    for told in _lines(path):
        if "begin" in told:
            running = str(told["begin"])
            continue
        running = ""
        again = tuple(told.get("again", ()))
        outcomes.append(
            Outcome(told["case"], told["outcome"], told["why"], again, told.get("seconds", 0.0))
        )
    return outcomes, running


def _lines(path: Path) -> Iterator[dict[str, object]]:
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except ValueError:
            pass  # the part was killed in the middle of a line

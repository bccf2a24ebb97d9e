# SPDX-License-Identifier: MIT
"""The file in which a part of a stage writes what happens to each of its cases.

One JSON object a line. {"begin": NAME} when a case starts, so that a reader can say where a part
hangs; {"case": NAME, "outcome": ..., ...} with the fields of Outcome when it has ended;
{"complete": true} when the part has done all that it had to do. A file without this last line is
that of a part that died.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PASSED, FAILED, FLAKY, SKIPPED = "passed", "failed", "flaky", "skipped"

NOTHING_RAN = 5
"""The exit status when nothing could be run: pytest's, and our own modules'."""

OUTCOMES = (PASSED, FAILED, FLAKY, SKIPPED)
"""`flaky`: failed, and passed when it was run again alone. Only CI runs cases again."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one case."""

    case: str
    outcome: str
    why: str = ""
    again: tuple[str, ...] = ()
    """The words after `python` that run the case again, alone if possible. Empty: none do."""
    seconds: float = 0.0
    final: bool = False
    """Whether it stays a failure even if a second run passes: other cases may not have run."""


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
        final: bool = False,
    ) -> None:
        told = {"case": case, "outcome": outcome, "why": why, "again": list(again)}
        self._write({**told, "seconds": round(seconds, 2), "final": final})

    def complete(self) -> None:
        """Nothing comes after this."""
        self._write({"complete": True})

    def _write(self, told: object) -> None:
        if self._file:
            self._file.write(json.dumps(told) + "\n")


def skip(path: Path | None, name: str, why: str) -> int:
    """For a module that cannot run here: says why. Returns its exit status."""
    writer = Writer(path)
    writer.end(name, SKIPPED, why)
    writer.complete()
    print(f"{name}: skipped: {why}\n\n0 passed, 0 failed, 1 skipped")
    return NOTHING_RAN


@dataclass
class Told:
    """The content of a file."""

    outcomes: list[Outcome] = field(default_factory=list)
    running: str = ""
    """The case that has begun and not ended; empty: none."""
    complete: bool = False


def read(path: Path) -> Told:
    """All that `path` tells so far; nothing when there is no such file."""
    told = Told()
    for line in _lines(path):
        if "complete" in line:
            told.complete = True
        elif "begin" in line:
            told.running = line["begin"]
        else:
            told.running = ""
            told.outcomes.append(Outcome(**{**line, "again": tuple(line["again"])}))
    return told


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except ValueError:
            pass  # the part was killed in the middle of a line

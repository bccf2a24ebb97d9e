# SPDX-License-Identifier: MIT
"""Writes the report: JSON lines that tests/kernel/report.py reads on the host.

Each line is flushed, so that the host has it even when the guest dies.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Report:
    """Writes to `path`, if there is one, and prints a line for each case."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("w") if path else None
        self.passed = self.failed = 0

    def begin(self, suite: str, case: str) -> None:
        self._write({"begin": case, "suite": suite})

    def end(self, suite: str, case: str, why: str, seconds: float, facts: dict[str, Any]) -> None:
        """`why` is empty for a case that passed."""
        line = {"suite": suite, "case": case, "ok": not why, "why": why}
        self._write({**line, "seconds": round(seconds, 2), "facts": facts})
        self.passed += not why
        self.failed += bool(why)
        verdict = f"FAIL {why}" if why else "ok"
        print(f"{seconds:7.2f}  {suite:<8} {case:<44} {verdict}", flush=True)

    def _write(self, line: dict[str, Any]) -> None:
        if self._file:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()

# SPDX-License-Identifier: MIT
"""The report: JSON lines for the harness outside, which reads them even when the guest dies.

`{"begin": case, "suite": suite}` when a case begins; when it has ended
`{"suite", "case", "ok", "why", "seconds", "facts"}`. Flushed to the file each time.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Report:
    """Writes to `path`, if there is one, and prints a line a case."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("w") if path else None
        self.passed = self.failed = 0

    def begin(self, suite: str, case: str) -> None:
        """A case begins."""
        self._write({"begin": case, "suite": suite})

    def end(self, suite: str, case: str, why: str, seconds: float, facts: dict[str, Any]) -> None:
        """A case has ended; `why` is empty when it passed."""
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

# SPDX-License-Identifier: MIT
"""A log line now and then about refusals and timeouts, instead of one for each client."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

_EVERY = 60.0
_TOLD = ("refused:", "timeout:", "bad-request:")


class Summary:
    """Logs the counters of refusals and timeouts when they have changed, once a minute at most."""

    def __init__(self, counters: Counter[str], log: Any) -> None:
        self._counters = counters
        self._log = log
        self._told: dict[str, int] = {}
        self._when = float("-inf")

    def log_changes(self, *, at_once: bool = False) -> None:
        """`at_once`: do not wait until the minute is over."""
        now = time.monotonic()
        if now - self._when < _EVERY and not at_once:
            return
        counts = {k: n for k, n in self._counters.items() if k.startswith(_TOLD)}
        if counts == self._told:
            return
        self._told = counts
        self._when = now
        text = ", ".join(f"{key} {count}" for key, count in sorted(counts.items()))
        self._log.info("Turned away so far: %s", text)

# SPDX-License-Identifier: MIT
"""Limits the rate of log lines that clients can cause."""

from __future__ import annotations

import logging
import time


class RateLimit:
    """Logs up to `burst` lines per `interval` seconds, and then how many it kept back."""

    def __init__(self, log: logging.Logger, burst: int = 20, interval: float = 10.0) -> None:
        self._log = log
        self._burst = burst
        self._interval = interval
        self._since = float("-inf")
        self._count = 0

    def warning(self, message: str, *args: object) -> None:
        """As Logger.warning()."""
        self._emit(logging.WARNING, message, args)

    def info(self, message: str, *args: object) -> None:
        """As Logger.info()."""
        self._emit(logging.INFO, message, args)

    def _emit(self, level: int, message: str, args: tuple[object, ...]) -> None:
        if not self._log.isEnabledFor(level):
            return
        now = time.monotonic()
        if now - self._since > self._interval:
            if self._count > self._burst:
                self._log.warning("%d more such lines kept back", self._count - self._burst)
            self._since = now
            self._count = 0
        self._count += 1
        if self._count <= self._burst:
            self._log.log(level, message, *args)

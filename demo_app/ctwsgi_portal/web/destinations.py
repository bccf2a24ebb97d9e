# SPDX-License-Identifier: MIT
"""Counts where clients were going, in memory first: a write for each request would be the store's
greatest load, and a device before its login asks many times a second.
"""

from __future__ import annotations

import time
from collections import Counter

from ..state import Store

FLUSH = 5.0
"""Seconds that counts wait at most, as long as requests come."""
MOST = 1000
"""Different destinations that wait at most."""


class Destinations:
    """Written by every redirected request of this process. What waits at its end is lost."""

    def __init__(self, store: Store, retention: int) -> None:
        self._store = store
        self._kept = retention > 0
        self._waiting: Counter[str] = Counter()
        self._flushed = time.monotonic()

    def count(self, destination: str) -> None:
        """StoreError."""
        if not self._kept:
            return
        self._waiting[destination] += 1
        now = time.monotonic()
        if now - self._flushed >= FLUSH or len(self._waiting) >= MOST:
            self._flushed = now
            self.flush()

    def flush(self) -> None:
        """StoreError; the counts are gone then, which matters less than a growing memory."""
        counts, self._waiting = self._waiting, Counter()
        if counts:
            self._store.count_destinations(counts)

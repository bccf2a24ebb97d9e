# SPDX-License-Identifier: MIT
"""Counts destinations, in memory first: before its login a device asks many times a second, and a
write for each request would be most of the store's load.
"""

from __future__ import annotations

import time
from collections import Counter

from ..state import Store

FLUSH = 5.0
"""Seconds after which the next request writes the counts to the store."""
MOST = 1000
"""Different destinations in memory at which the counts are written."""


class Destinations:
    """The counts of this process. Those in memory are lost when it ends."""

    def __init__(self, store: Store, retention: int) -> None:
        self._store = store
        self._kept = retention > 0
        self._waiting: Counter[str] = Counter()
        self._flushed = time.monotonic()

    def count(self, destination: str) -> None:
        """Counts a request. May raise StoreError."""
        if not self._kept:
            return
        self._waiting[destination] += 1
        now = time.monotonic()
        if now - self._flushed >= FLUSH or len(self._waiting) >= MOST:
            self._flushed = now
            self.flush()

    def flush(self) -> None:
        """Writes the counts to the store. After StoreError they are lost: memory must not grow."""
        counts, self._waiting = self._waiting, Counter()
        if counts:
            self._store.count_destinations(counts)

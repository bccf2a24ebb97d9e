"""Greenlets that are used again, like the threads of a pool.

A fresh greenlet costs an mmap, a page fault and an munmap for its Python stack: 11 us where a
reused one costs 1, a tenth of a short connection. Each run starts in an empty contextvars context,
so that nothing leaks from one client to the next that way; thread-locals (gevent.local) do survive,
as they do in any thread pool.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any

import gevent
from gevent.hub import get_hub
from greenlet import greenlet


class Greenlets:
    """Runs functions, each in a greenlet of its own; keeps up to `spare` idle ones."""

    def __init__(self, spare: int = 256) -> None:
        self._spare = spare
        self._idle: list[Any] = []
        self._hub: Any = get_hub()

    def spawn(self, function: Callable[[], None]) -> None:
        """Schedules `function`. What it raises goes to the hub's error handler."""
        worker = self._idle.pop() if self._idle else greenlet(self._work, self._hub)
        worker.gr_context = Context()
        self._hub.loop.run_callback(worker.switch, function)

    def _work(self, function: Callable[[], None] | None) -> None:
        me = gevent.getcurrent()
        while function is not None:
            function()
            function = None  # or an idle greenlet would keep the connection alive
            if len(self._idle) < self._spare:
                self._idle.append(me)
                function = self._hub.switch()

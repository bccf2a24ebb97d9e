# SPDX-License-Identifier: MIT
"""Greenlets that are used again, when nobody can tell them from fresh ones.

A fresh greenlet costs an mmap, a page fault and an munmap for its Python stack: 11 us where a
reused one costs 1, a good part of a short connection. But something of its former life may cling to
a greenlet: a gevent.Timeout that was never cancelled, a gevent.local, a saved getcurrent(). All of
these hold a reference. So an idle greenlet is used again only if it has no more references than one
that never ran foreign code; otherwise it is ended. contextvars start empty each time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from sys import getrefcount
from typing import Any
from weakref import getweakrefcount

import gevent
from gevent.hub import get_hub
from greenlet import greenlet

Task = Callable[[], None]


class Greenlets:
    """Runs functions, each in a greenlet of its own; keeps up to `spare` idle ones."""

    def __init__(self, spare: int = 256) -> None:
        self._spare = spare
        self._hub: Any = get_hub()
        self._idle: list[Any] = []
        self._closed = False
        self._pristine: Any = greenlet(self._work, self._hub)
        self._schedule(self._pristine, self._stay)

    def spawn(self, task: Task) -> None:
        """Schedules `task`. What it raises goes to the hub's error handler."""
        self._schedule(self._reusable() or greenlet(self._work, self._hub), task)

    def _schedule(self, worker: Any, task: Task) -> None:
        worker.gr_context = Context()
        # In a list, because a greenlet keeps the arguments that it was started with.
        self._hub.loop.run_callback(worker.switch, self, [task])

    def _reusable(self) -> Any:
        """An idle greenlet that nobody else knows, or None."""
        pristine = self._pristine
        while self._idle:
            # Both are held in the same way here: by a container, a local and the argument.
            worker = self._idle[-1]
            clean = (
                getrefcount(worker) == getrefcount(pristine)
                and not getweakrefcount(worker)
                and not worker.__dict__
                and not worker.dead
            )
            self._idle.pop()
            if clean:
                return worker
            if not worker.dead:
                self._hub.loop.run_callback(worker.throw)  # GreenletExit
        return None

    def _stay(self) -> None:
        """The task of the greenlet that all others are compared with."""

    def close(self) -> None:
        """Ends the idle ones; a suspended greenlet is never collected."""
        for worker in (*self._idle, self._pristine):
            self._hub.loop.run_callback(worker.throw)  # GreenletExit
        self._idle.clear()
        self._closed = True

    def _work(self, owner: Greenlets, tasks: list[Task]) -> None:
        me = gevent.getcurrent()
        while tasks:
            tasks.pop()()
            me.gr_context = None  # or an idle greenlet would keep what is in it alive
            if me is not self._pristine:
                if self._closed or len(self._idle) >= self._spare:
                    return
                self._idle.append(me)
            tasks = self._next()

    def _next(self) -> list[Task]:
        """Waits to be used again. Empty: what came is not from us, so this greenlet is to end."""
        try:
            got = self._hub.switch()
        except BaseException:  # a leftover Timeout, or GreenletExit because it was dropped
            return []
        return got[1] if isinstance(got, tuple) and got[0] is self else []

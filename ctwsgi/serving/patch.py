# SPDX-License-Identifier: MIT
"""Monkey-patching for the worker, with the master left on the real system calls.

gevent has to patch before the application is imported, and with --preload that is in the master.
But gunicorn's master must never wait in a gevent hub: its SIGCHLD handler, os.waitpid() and
time.sleep() would become gevent's, whose child watchers reap the workers behind its back. So the
modules that gunicorn.arbiter sees are views on the unpatched originals.
"""

from __future__ import annotations

import signal
from types import ModuleType
from typing import Any

import gevent
import gevent.os
from gevent import monkey

_MASTER_USES = ("os", "queue", "signal", "time")


class Unpatched:
    """A module as it was before gevent patched it."""

    def __init__(self, module: ModuleType) -> None:
        self._name = module.__name__

    def __getattr__(self, name: str) -> Any:
        return monkey.get_original(self._name, name)


def patch() -> None:
    """Patches everything that gevent can patch; calling it again changes nothing."""
    monkey.patch_all()
    from gunicorn import arbiter  # only now: it imports ssl and threading

    if isinstance(arbiter.os, Unpatched):
        return
    for name in _MASTER_USES:
        setattr(arbiter, name, Unpatched(getattr(arbiter, name)))
    # The one thing wanted of gevent here: a fork whose child gets a hub of its own.
    arbiter.os.fork = gevent.os.fork_gevent
    arbiter.signal.signal = _signal
    _reap_without_sigchld(arbiter.Arbiter)


def _signal(number: int, handler: Any) -> Any:
    """signal.signal(); for SIGCHLD libev learns that the handler is not its own any more.

    Else subprocess, used before (by a preloaded application) and again (by a hook), would wait
    for ever: libev installs its handler once.
    """
    previous = monkey.get_original("signal", "signal")(number, handler)
    if number == signal.SIGCHLD:
        loop: Any = gevent.get_hub().loop
        loop.reset_sigchld()
    return previous


def _reap_without_sigchld(master_class: Any) -> None:
    """The master looks for ended workers every second, too.

    A hook that uses subprocess there leaves SIGCHLD in libev's hands, and a worker that died
    would never be replaced.
    """
    wait = master_class.wait_for_signals

    def wait_for_signals(self: Any, timeout: float = 1.0) -> Any:
        signals = wait(self, timeout)
        if not signals:
            self.reap_workers()
        return signals

    master_class.wait_for_signals = wait_for_signals

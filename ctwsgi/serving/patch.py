# SPDX-License-Identifier: MIT
"""gevent's monkey patches for the worker, while gunicorn's master keeps the real system calls.

gevent must patch before the application is imported, which with --preload happens in the master.
But the master must not wait in a gevent hub: its SIGCHLD handler, os.waitpid() and time.sleep()
would be gevent's, and gevent's child watchers would reap the workers before the master does. So
gunicorn.arbiter gets views of the unpatched modules.
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
    """Patches everything that gevent can patch. A second call changes nothing."""
    monkey.patch_all()
    from gunicorn import arbiter  # only now: it imports ssl and threading

    if isinstance(arbiter.os, Unpatched):
        return
    for name in _MASTER_USES:
        setattr(arbiter, name, Unpatched(getattr(arbiter, name)))
    # From gevent the master needs fork() only: its child gets a hub of its own.
    arbiter.os.fork = gevent.os.fork_gevent
    arbiter.signal.signal = _signal
    _reap_without_sigchld(arbiter.Arbiter)


def _signal(number: int, handler: Any) -> Any:
    """signal.signal(); for SIGCHLD it tells libev that libev's handler was replaced.

    libev installs its handler once. Without this a subprocess in a hook would wait for ever, if a
    preloaded application has used subprocess before.
    """
    previous = monkey.get_original("signal", "signal")(number, handler)
    if number == signal.SIGCHLD:
        loop: Any = gevent.get_hub().loop
        loop.reset_sigchld()
    return previous


def _reap_without_sigchld(master_class: Any) -> None:
    """Makes the master look for ended workers every second as well.

    A hook in the master that uses subprocess leaves libev's SIGCHLD handler installed; without this
    a worker that died would never be replaced.
    """
    wait = master_class.wait_for_signals

    def wait_for_signals(self: Any, timeout: float = 1.0) -> Any:
        signals = wait(self, timeout)
        if not signals:
            self.reap_workers()
        return signals

    master_class.wait_for_signals = wait_for_signals

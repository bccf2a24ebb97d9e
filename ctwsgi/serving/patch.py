# SPDX-License-Identifier: MIT
"""gevent's monkey patches for the worker, while gunicorn's master keeps the real system calls.

gevent must patch before the application is imported, which with --preload happens in the master.
But the master must not wait in a gevent hub: its SIGCHLD handler, os.waitpid() and time.sleep()
would be gevent's, and gevent's child watchers would reap the workers before the master does. So
gunicorn.arbiter gets views of the unpatched modules.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Any

import gevent
import gevent.os
from gevent import monkey

_MASTER_USES = ("os", "queue", "signal", "time")

_FOR_WORKERS = (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGUSR1)
"""What a master, or a terminal, sends to workers."""

_early: list[int] = []
"""Which of them this process has received before it had a worker's handlers."""


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
    arbiter.os.fork = _fork
    arbiter.signal.signal = _signal
    _reap_without_sigchld(arbiter.Arbiter)


def _fork() -> int:
    """fork() whose child keeps its signals until `give_early_signals()`, if it becomes a worker.

    Until the child has a worker's handlers it has the master's, which put a signal into a queue
    that nobody reads in the child. A worker that is told to stop while it boots would then serve
    until the master kills it, after the graceful timeout.
    """
    with signals_blocked():
        pid: int = gevent.os.fork_gevent()
        if pid == 0:
            _early.clear()
            for number in _FOR_WORKERS:
                monkey.get_original("signal", "signal")(number, _keep)
    return pid


def _keep(number: int, frame: FrameType | None) -> None:
    _early.append(number)


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Delivers no signal for workers in the `with`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_WORKERS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def give_early_signals() -> None:
    """Gives the signals that came while the worker had no handlers to those that it has now."""
    while _early:
        signal.raise_signal(_early.pop(0))


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

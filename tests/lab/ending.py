# SPDX-License-Identifier: MIT
"""How a program of the lab ends on SIGINT, SIGTERM or SIGHUP: at its next wait, in order.

A signal handler that raises can raise at any bytecode, also in code whose caller drops every
exception: a finalizer, a callback of a weak reference, the dictionary that coverage's C tracer asks
for the current greenlet. The exception is lost there, and the program goes on. So no handler raises
here. The signal leaves its number in a pipe (signal.set_wakeup_fd); the waits of the lab (wait.py)
poll that pipe together with what they wait for, and raise `Ended`.

Every later wait raises `Ended` again, so code that replaces the exception by another one cannot
lose it either. Only the waits of clean-up, inside `undisturbed()`, do not; they have deadlines.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(SystemExit):
    """A signal has told this program to end. The exit status is a shell's: 128 + its number."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = signal.Signals(number)


def end_in_order() -> None:
    """From now on, a signal ends the program at its next wait. Only the main thread may call it."""
    _state.pipe, written = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    for number in SIGNALS:
        if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue  # nohup has run this program
        # Python writes to the pipe only for signals that have a handler. Unlike SIG_IGN, a handler
        # is not inherited by the commands that are run.
        signal.signal(number, _do_nothing)


def end_if_told() -> None:
    """Raises `Ended` if a signal has come, except inside `undisturbed()`."""
    if _state.pipe is None or _state.undisturbed:
        return
    _state.read()
    if _state.told:
        raise Ended(_state.told)


def watched() -> int | None:
    """The descriptor that becomes readable on a signal; None inside `undisturbed()`."""
    return None if _state.undisturbed else _state.pipe


@contextmanager
def undisturbed() -> Iterator[None]:
    """The waits inside the `with` go on after a signal. They need deadlines."""
    _state.undisturbed += 1
    try:
        yield
    finally:
        _state.undisturbed -= 1


class _State:
    """One for the process, as signal handlers are."""

    pipe: int | None = None
    """The end that is read; None until end_in_order()."""
    told = 0
    """The first signal that has come."""
    undisturbed = 0
    """How many undisturbed() are entered."""

    def read(self) -> None:
        """Empties the pipe. It has a byte for each signal, also for those of other handlers."""
        assert self.pipe is not None
        try:
            come = os.read(self.pipe, 4096)
        except BlockingIOError:
            return
        self.told = self.told or next((number for number in come if number in SIGNALS), 0)


_state = _State()


def _do_nothing(number: int, frame: FrameType | None) -> None:
    pass

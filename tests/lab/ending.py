# SPDX-License-Identifier: MIT
"""How a program of the lab ends when it is told to: once, in order, at a moment that can bear it.

SIGINT, SIGTERM and SIGHUP become an exception, so that each `with` is left. What comes behind the
first finds everything on its way out and is ignored: cleaning up is bounded.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_AGAIN = 0.01
"""Seconds, until a finalizer has ended."""


def end_in_order() -> None:
    """From now on a signal raises KeyboardInterrupt (SIGINT), or SystemExit with 128 + its number.

    In the main thread.
    """
    for number in SIGNALS:
        signal.signal(number, _end)


@contextmanager
def undisturbed() -> Iterator[None]:
    """A signal that comes inside the `with` is an exception behind it.

    Not by blocking it: the processes that are started inside would do the same.
    """
    _state.depth += 1
    try:
        yield
    finally:
        _state.depth -= 1
        if not _state.depth and _state.waiting:
            number, _state.waiting = _state.waiting, 0
            _raise(number, None)


class _State:
    depth = 0
    waiting = 0
    """The signal that has come meanwhile."""


_state = _State()


def _end(number: int, frame: FrameType | None) -> None:
    for each in SIGNALS:
        # Not SIG_IGN, which the commands that clean up would inherit.
        signal.signal(each, _ignore)
    if _state.depth:
        _state.waiting = number
    else:
        _raise(number, frame)


def _raise(number: int, frame: FrameType | None) -> None:
    if _in_finalizer(frame):
        # There an exception is printed and lost.
        signal.signal(signal.SIGALRM, lambda _, frame: _raise(number, frame))
        signal.setitimer(signal.ITIMER_REAL, _AGAIN)
        return
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


def _in_finalizer(frame: FrameType | None) -> bool:
    while frame:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def _ignore(number: int, frame: FrameType | None) -> None:
    pass

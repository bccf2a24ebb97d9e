# SPDX-License-Identifier: MIT
"""Waiting for an event with a deadline, never for a time.

Each function raises `ending.Ended` when a signal has told the program to end.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

from .ending import end_if_told, watched

DEADLINE = float(os.environ.get("LAB_DEADLINE", "60"))
"""Seconds. Only a failure takes this long, also beside other work. Not more, because after 63
seconds a kernel gives up a half-open connection by itself, and a test might wait for that. Under
emulation a server takes half a minute to start: there LAB_DEADLINE has to be greater.
"""

_PAUSE = 0.02
"""Seconds between two questions for an event that no descriptor tells."""

T = TypeVar("T")


def until(event: Callable[[], T], what: str, deadline: float = DEADLINE) -> T:
    """The first true answer of `event()`; TimeoutError that names `what` after `deadline` s."""
    end = time.monotonic() + deadline
    while True:
        answer = event()
        if answer:
            return answer
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {deadline:g} s")
        _poll({}, _PAUSE)


def until_ready(descriptor: int, events: int, deadline: float | None = DEADLINE) -> bool:
    """Waits for `events` (of select.poll) at a descriptor; False after `deadline` s.

    None waits as long as it takes.
    """
    end = None if deadline is None else time.monotonic() + deadline
    while True:
        left = None if end is None else max(0.0, end - time.monotonic())
        if _poll({descriptor: events}, left):
            return True
        if left == 0:
            return False


def until_ended(child: subprocess.Popen[bytes], deadline: float | None = DEADLINE) -> bool:
    """Waits for the end of a child and reaps it; False after `deadline` s."""
    if child.poll() is None:
        descriptor = os.pidfd_open(child.pid)
        try:
            if not until_ready(descriptor, select.POLLIN, deadline):
                return False
        finally:
            os.close(descriptor)
        child.wait()
    return True


def receive(sock: socket.socket, size: int) -> bytes:
    """`sock.recv(size)`, with the timeout that the socket has."""
    if not until_ready(sock.fileno(), select.POLLIN, sock.gettimeout()):
        raise TimeoutError("timed out")
    return sock.recv(size)


def _poll(wanted: dict[int, int], seconds: float | None) -> bool:
    """Whether a wanted descriptor is ready. Also returns early, with False, on a signal of others.

    A signal that comes between end_if_told() and the poll is in the pipe, and so ends the poll.
    """
    end_if_told()
    poll = select.poll()
    for descriptor, events in wanted.items():
        poll.register(descriptor, events)
    signals = watched()
    if signals is not None:
        poll.register(signals, select.POLLIN)
    ready = [descriptor for descriptor, _ in poll.poll(None if seconds is None else seconds * 1e3)]
    end_if_told()
    return any(descriptor in wanted for descriptor in ready)

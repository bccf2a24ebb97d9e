# SPDX-License-Identifier: MIT
"""Moves a thread into another network namespace, for tests that run as root."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNET = 0x40000000  # linux/sched.h; os.setns exists from Python 3.12 on


def named(name: str) -> str:
    """The path of a namespace that `ip netns add` has made."""
    return f"/run/netns/{name}"


@contextmanager
def entered(path: str | Path) -> Iterator[None]:
    """In the `with`, this thread is in the network namespace at `path`.

    Sockets and processes that it makes there stay in that namespace.
    """
    # thread-self: /proc/self has the main thread's namespace.
    with open("/proc/thread-self/ns/net") as home, open(path) as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def _enter(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")

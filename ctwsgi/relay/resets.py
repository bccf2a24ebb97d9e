# SPDX-License-Identifier: MIT
"""Notices that a connection was reset while no greenlet reads from it.

A greenlet that waits to write to a stalled upstream does not read from its client. Without this
module it would notice the client's RST only when the upstream takes data again, and a client could
fill the relay with dead connections. Waiting for the socket to become readable would not help,
because unread data keeps it readable. So an edge-triggered epoll set watches for EPOLLERR, which
costs nothing per byte.
"""

from __future__ import annotations

import select
from collections.abc import Callable

from gevent.hub import Hub
from gevent.monkey import get_original

READ = 1


class ResetWatch:
    """Calls a function, at most once per error, when a watched socket was reset or timed out."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        # gevent's monkey patches remove epoll from the select module.
        self._epoll: select.epoll = get_original("select", "epoll")()
        self._callbacks: dict[int, Callable[[], None]] = {}

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        self._callbacks[fd] = callback
        self._epoll.register(fd, select.EPOLLET)  # EPOLLERR and EPOLLHUP are always reported

    def forget(self, fd: int) -> None:
        """Call it before the descriptor is closed; closing removes it from the epoll set."""
        del self._callbacks[fd]

    def run(self) -> None:
        """The function of a greenlet, which runs until it is killed."""
        readable = self._hub.loop.io(self._epoll.fileno(), READ)
        try:
            while True:
                self._hub.wait(readable)
                for fd, events in self._epoll.poll(0):
                    # EPOLLHUP alone is an orderly end in both directions.
                    if events & select.EPOLLERR and fd in self._callbacks:
                        self._callbacks[fd]()
        finally:
            readable.close()
            self._epoll.close()

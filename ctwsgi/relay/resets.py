# SPDX-License-Identifier: MIT
"""Learns of a connection's death while nobody reads from it.

A greenlet that waits to write to a stalled upstream does not read from its client, so an RST from
the client would be seen by nobody until the upstream moves: a client could fill the relay with
dead connections. Waiting to read would not help, as unread data keeps the socket readable. So one
edge-triggered epoll set watches for EPOLLERR alone, which costs nothing per byte.
"""

from __future__ import annotations

import select
from collections.abc import Callable

from gevent.hub import Hub
from gevent.monkey import get_original

READ = 1


class ResetWatch:
    """Calls back, at most once per error, when a watched socket was reset or timed out."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        # In a patched process the select module has no epoll any more.
        self._epoll: select.epoll = get_original("select", "epoll")()
        self._callbacks: dict[int, Callable[[], None]] = {}

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        self._callbacks[fd] = callback
        self._epoll.register(fd, select.EPOLLET)  # EPOLLERR and EPOLLHUP are always reported

    def forget(self, fd: int) -> None:
        """To be called before the descriptor is closed, which takes it out of the epoll set."""
        del self._callbacks[fd]

    def run(self) -> None:
        """The body of a greenlet; ends by being killed."""
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

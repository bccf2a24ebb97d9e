# SPDX-License-Identifier: MIT
"""One of a connection's two sockets, and the options that both get."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gevent._types import _IoWatcher

_LINGER_0 = struct.pack("ii", 1, 0)
_KEEPALIVE = (60, 15, 4)
"""Seconds of silence, seconds between probes, number of probes: a peer that vanished is noticed
within 2 minutes."""


class GoneError(Exception):
    """`side` was reset, timed out or vanished."""

    def __init__(self, side: Side) -> None:
        super().__init__(side.name)
        self.side = side


class Side:
    """A non-blocking socket and its watcher. Errors of the socket are raised as GoneError."""

    __slots__ = ("name", "readable", "sock")

    def __init__(self, name: str, sock: socket.socket, readable: _IoWatcher) -> None:
        self.name = name
        self.sock = sock
        self.readable = readable

    def receive_into(self, buffer: memoryview) -> int | None:
        """The number of bytes received, 0 at the end of the stream, None when there is no data."""
        try:
            return self.sock.recv_into(buffer)
        except BlockingIOError:
            return None
        except OSError as e:
            raise GoneError(self) from e

    def send(self, data: memoryview | bytes) -> int:
        """The number of bytes that the kernel took, 0 when its buffer is full."""
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as e:
            raise GoneError(self) from e

    def finish(self) -> None:
        """Sends FIN: nothing more will be written to this side."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as e:
            raise GoneError(self) from e


def tune(sock: socket.socket) -> None:
    """Sets TCP_NODELAY and keepalive. Accepted sockets inherit both from their listener."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle, interval, count = _KEEPALIVE
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, count)


def reset(sock: socket.socket) -> None:
    """Closes with RST: after FIN a stream that was cut off would look complete."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
    except OSError:
        pass
    sock.close()

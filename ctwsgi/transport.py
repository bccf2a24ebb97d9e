"""A non-blocking socket that a greenlet waits on, with a deadline that others may enforce.

`Transport` works on the bare socket: gevent's socket objects cost as much as a small request.
`TlsTransport` leaves the work to gevent.ssl.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import gevent
from gevent.hub import get_hub

from .http.channel import Buffer
from .http.errors import DeadlineExceeded, Disconnected

READ, WRITE = 1, 2  # gevent.core.READ and WRITE, which libev fixes

_RESET = struct.pack("ii", 1, 0)  # struct linger: on, 0 s: close() sends RST


class Transport:
    """Blocking calls for one greenlet over a non-blocking socket.

    While a call waits, `deadline` (monotonic seconds) and `which` say until when and for what;
    the reaper throws DeadlineExceeded into the waiting greenlet afterwards.
    """

    __slots__ = ("_greenlet", "_hub", "_reader", "_writer", "deadline", "sock", "stall", "which")

    def __init__(self, sock: Any, stall: float) -> None:
        self.sock = sock
        self.stall = stall
        """Seconds that a send may wait for the client to take anything; 0: for ever."""
        self.deadline = inf
        self.which = ""
        self._hub = get_hub()
        self._reader: Any = None
        self._writer: Any = None
        self._greenlet: Any = None

    def interrupt(self, error: BaseException) -> None:
        """Ends a wait with `error`; nothing happens to a greenlet that does not wait in here.

        Only from the hub: thrown from another greenlet, that one would never run again.
        """
        if self._greenlet is not None:
            self._greenlet.throw(error)

    def expire(self, now: float) -> None:
        """The reaper's call: ends a wait that has lasted too long. Only from the hub."""
        if self.deadline <= now:
            self.interrupt(DeadlineExceeded(self.which))

    def wait_readable(self) -> None:
        """Blocks until there is something to receive, or the end of it."""
        if self._reader is None:
            self._reader = self._hub.loop.io(self.sock.fileno(), READ)
        self._wait(self._reader)

    def recv_into(self, buffer: bytearray) -> int:
        """Bytes received, 0 at the end. Disconnected when the client has reset."""
        while True:
            try:
                return self.sock.recv_into(buffer)  # type: ignore[no-any-return]
            except BlockingIOError:
                self.wait_readable()
            except OSError as e:
                raise Disconnected(str(e)) from None

    def arrived(self) -> bool:
        """Something not yet received lies in the kernel's buffer."""
        try:
            return bool(self.sock.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def send(self, data: Buffer) -> None:
        """Returns when the kernel has all of `data`."""
        self._push(self.sock.send, data)

    def send_parts(self, parts: Sequence[Buffer]) -> None:
        """Several pieces in one call, without joining them."""
        try:
            sent = self.sock.sendmsg(parts)
        except BlockingIOError:
            sent = 0
        except OSError as e:
            raise Disconnected(str(e)) from None
        for part in parts:
            if sent >= len(part):
                sent -= len(part)
            else:
                self.send(memoryview(part)[sent:])
                sent = 0

    def finish_sending(self) -> None:
        """Sends FIN; receiving goes on."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as e:
            raise Disconnected(str(e)) from None

    def reset(self) -> None:
        """Makes close() send RST, the only sign that a close-delimited response broke off."""
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except OSError:
            pass  # already gone

    def close(self) -> None:
        """Gives back the descriptor and its watchers."""
        for watcher in (self._reader, self._writer):
            if watcher is not None:
                watcher.close()
        self._reader = self._writer = None
        self.sock.close()

    def _push(self, send: Callable[[Buffer], int], data: Buffer) -> None:
        while True:
            try:
                sent = send(data)
            except BlockingIOError:
                self._wait_writable()
                continue
            except OSError as e:
                raise Disconnected(str(e)) from None
            if sent == len(data):
                return
            data = memoryview(data)[sent:]

    def _wait_writable(self) -> None:
        if self._writer is None:
            self._writer = self._hub.loop.io(self.sock.fileno(), WRITE)
        deadline, which = self.deadline, self.which
        if self.stall:
            self.deadline, self.which = time.monotonic() + self.stall, "send"
        try:
            self._wait(self._writer)
        finally:
            self.deadline, self.which = deadline, which

    def _wait(self, watcher: Any) -> None:
        self._greenlet = gevent.getcurrent()
        try:
            self._hub.wait(watcher)
        finally:
            self._greenlet = None


class TlsTransport(Transport):
    """The same over gevent.ssl, which blocks by itself."""

    __slots__ = ()

    def handshake(self, wrap: Callable[[Any], Any]) -> None:
        """Replaces the socket by the TLS socket that `wrap` makes of it."""
        self.sock = self._blocking(wrap, self.sock)

    def wait_readable(self) -> None:
        """What TLS has decrypted already cannot be seen from outside: recv_into() waits."""

    def recv_into(self, buffer: bytearray) -> int:
        return self._blocking(self.sock.recv_into, buffer)  # type: ignore[no-any-return]

    def arrived(self) -> bool:
        return bool(self.sock.pending())

    def send(self, data: Buffer) -> None:
        self._blocking(self.sock.sendall, data)

    def send_parts(self, parts: Sequence[Buffer]) -> None:
        self.send(b"".join(parts))

    def finish_sending(self) -> None:
        self._blocking(self.sock.shutdown, socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()

    def _blocking(self, call: Callable[..., Any], argument: Any) -> Any:
        self._greenlet = gevent.getcurrent()
        try:
            return call(argument)
        except (DeadlineExceeded, Disconnected):
            raise
        except OSError as e:
            raise Disconnected(str(e)) from None
        finally:
            self._greenlet = None

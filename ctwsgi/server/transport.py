# SPDX-License-Identifier: MIT
"""A non-blocking socket that greenlets wait on, with deadlines that the server enforces.

`SocketTransport` uses the bare socket: gevent's socket objects cost as much as a small request.
`TlsTransport` uses gevent.ssl.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import gevent
from gevent.exceptions import ConcurrentObjectUseError
from gevent.hub import get_hub

from ..http.channel import Buffer
from ..http.errors import DeadlineExceeded, Disconnected

READ, WRITE = 1, 2  # gevent.core.READ and WRITE, which libev fixes

_RESET = struct.pack("ii", 1, 0)  # struct linger: on, 0 s: close() sends RST
_TLS_SLICE = 65536
_FAIR_SHARE = 0.01
_TURN = 1e-6
"""Not 0: only with a timer does the loop check which sockets have become ready."""


class Direction:
    """Receiving or sending: which greenlet waits, until when (monotonic seconds), for what."""

    __slots__ = ("deadline", "greenlet", "watcher", "which")

    def __init__(self) -> None:
        self.deadline = inf
        self.which = ""
        """The name of the timeout that set the deadline."""
        self.greenlet: Any = None
        self.watcher: Any = None

    def enter(self) -> None:
        """Registers the current greenlet, which is about to block here."""
        if self.greenlet is not None:
            raise ConcurrentObjectUseError("another greenlet waits for this connection already")
        self.greenlet = gevent.getcurrent()

    def interrupt(self, error: BaseException) -> None:
        """Ends the wait, if there is one. Only from the hub: see SocketTransport.interrupt()."""
        if self.greenlet is not None:
            self.greenlet.throw(error)


class SocketTransport:
    """Blocking calls over a non-blocking socket: one greenlet may receive while another sends."""

    __slots__ = ("_hub", "receiving", "resumed", "sending", "sock", "stall")

    def __init__(self, sock: Any, stall: float) -> None:
        self.sock = sock
        self.stall = stall
        """Seconds that a send may wait for the client to take data; 0: for ever."""
        self.receiving = Direction()
        """The connection sets its deadline; the deadline of `sending` follows from `stall`."""
        self.sending = Direction()
        self.resumed = inf
        """When this connection's greenlet last began to run."""
        self._hub = get_hub()

    def handshake(self) -> None:
        """Before the first byte: nothing to do without TLS."""

    def share(self) -> None:
        """Lets other greenlets run, if this connection has used the processor for long enough.

        A client that always has data ready never makes its greenlet wait, so without this call one
        fast client would block all others.
        """
        if time.monotonic() - self.resumed > _FAIR_SHARE:
            gevent.sleep(_TURN)
            self.resumed = time.monotonic()

    def interrupt(self, error: BaseException) -> None:
        """Raises `error` in the greenlets that wait here, if any.

        Only from the hub: a greenlet that throws into another one is never scheduled again.
        """
        self.receiving.interrupt(error)
        self.sending.interrupt(error)

    def expired(self, now: float) -> bool:
        """Whether a deadline has passed."""
        return self.receiving.deadline <= now or self.sending.deadline <= now

    def expire(self, now: float) -> None:
        """Ends the waits whose deadline has passed. Only from the hub."""
        for side in (self.receiving, self.sending):
            if side.deadline <= now:
                side.interrupt(DeadlineExceeded(side.which))

    def wait_readable(self) -> None:
        """Blocks until there is data or the end of the stream."""
        side = self.receiving
        if side.watcher is None:
            side.watcher = self._hub.loop.io(self.sock.fileno(), READ)
        self._wait(side)

    def recv_into(self, buffer: bytearray) -> int:
        """The number of bytes received, 0 at the end. Disconnected when the client has reset."""
        while True:
            try:
                return self.sock.recv_into(buffer)  # type: ignore[no-any-return]
            except BlockingIOError:
                self.wait_readable()
            except OSError as e:
                raise Disconnected(str(e)) from None

    def arrived(self) -> bool:
        """Whether the kernel's buffer holds data that was not received yet."""
        try:
            return bool(self.sock.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def send(self, data: Buffer) -> None:
        """Returns when the kernel has all of `data`."""
        while True:
            try:
                sent = self.sock.send(data)
            except BlockingIOError:
                self._wait_writable()
                continue
            except OSError as e:
                raise Disconnected(str(e)) from None
            if sent == len(data):
                return
            data = memoryview(data)[sent:]

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
        """Makes close() send RST: the only sign that a response without a length broke off."""
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except OSError:
            pass  # already gone

    def close(self) -> None:
        """Closes the descriptor and its watchers; greenlets that still wait get Disconnected."""
        for side in (self.receiving, self.sending):
            if side.greenlet is not None:
                self._hub.loop.run_callback(side.interrupt, Disconnected("closed"))
            if side.watcher is not None:
                side.watcher.close()
                side.watcher = None
        try:
            self.sock.close()
        except OSError:
            pass  # the application has closed the descriptor already

    def _wait_writable(self) -> None:
        side = self.sending
        if side.watcher is None:
            side.watcher = self._hub.loop.io(self.sock.fileno(), WRITE)
        self._stall_from_now()
        try:
            self._wait(side)
        finally:
            side.deadline = inf

    def _stall_from_now(self) -> None:
        if self.stall:
            self.sending.which = "send"
            self.sending.deadline = time.monotonic() + self.stall

    def _wait(self, side: Direction) -> None:
        side.enter()
        try:
            self._hub.wait(side.watcher)
        finally:
            side.greenlet = None
            self.resumed = time.monotonic()


class TlsTransport(SocketTransport):
    """The same over gevent.ssl, whose calls wait in the hub themselves."""

    __slots__ = ("_wrap", "_wrapped")

    def __init__(self, sock: Any, stall: float, wrap: Callable[[Any], Any]) -> None:
        """`wrap` does the handshake on a socket and returns the TLS socket."""
        super().__init__(sock, stall)
        self._wrap = wrap
        self._wrapped = False

    def handshake(self) -> None:
        """Replaces the socket by the TLS socket."""
        self.sock = self._blocking(self.receiving, self._wrap, self.sock)
        self._wrapped = True

    def wait_readable(self) -> None:
        """Returns at once: data that TLS has decrypted already is not visible here."""

    def recv_into(self, buffer: bytearray) -> int:
        received: int = self._blocking(self.receiving, self.sock.recv_into, buffer)
        return received

    def arrived(self) -> bool:
        return self._wrapped and bool(self.sock.pending())

    def send(self, data: Buffer) -> None:
        view = memoryview(data)
        for at in range(0, len(view), _TLS_SLICE):
            self._stall_from_now()  # each slice gets the full time
            try:
                self._blocking(self.sending, self.sock.sendall, view[at : at + _TLS_SLICE])
            finally:
                self.sending.deadline = inf

    def send_parts(self, parts: Sequence[Buffer]) -> None:
        self.send(b"".join(parts))

    def finish_sending(self) -> None:
        self._close_notify()
        super().finish_sending()

    def close(self) -> None:
        self._close_notify()
        super().close()

    def _close_notify(self) -> None:
        """Sends close_notify without waiting for the client's."""
        if self._wrapped:
            self._wrapped = False
            try:
                self.sock.settimeout(0)
                self.sock.unwrap()
            except (OSError, ValueError):
                pass  # it wants to read the client's close_notify, or the client is gone
            self.sock.settimeout(None)

    def _blocking(self, side: Direction, call: Callable[..., Any], argument: Any) -> Any:
        side.enter()
        try:
            return call(argument)
        except (DeadlineExceeded, Disconnected):
            raise
        except OSError as e:
            raise Disconnected(str(e)) from None
        finally:
            side.greenlet = None

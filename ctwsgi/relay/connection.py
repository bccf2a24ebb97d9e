# SPDX-License-Identifier: MIT
"""One relayed connection: dial the upstream, write the opening, then carry both directions.

Each direction has a greenlet. A FIN or RST from one side is passed to the other side as the same. A
greenlet holds bytes only while the receiver does not take them, and at most one chunk; it reads the
next chunk when they are sent, so that TCP slows the sender down.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

import gevent
from gevent.hub import Hub

from ..linux import normal_address
from ..origin import Address
from ..wire.ctframe import HEADER_SIZE, frame_header
from .endpoint import Endpoint
from .resets import READ, ResetWatch
from .side import GoneError, Side, reset, tune

if TYPE_CHECKING:
    from gevent._types import _IoWatcher

WRITE = 2
CHUNK = 65535
"""Bytes read at once: the longest payload that a ctframe header can announce."""

_QUEUE_FULL_PAUSE = 0.01

Call = tuple[Address | None, Address | None]
"""The local and the remote address of a connection that this relay made."""


class AbortedError(Exception):
    """Raised in a waiting greenlet when its connection must end now."""


@dataclass(slots=True)
class RelayShared:
    """What all connections of a relay have in common; the relay fills it."""

    hub: Hub
    upstreams: Sequence[Endpoint]
    connect_timeout: float
    counters: Counter[str]
    resets: ResetWatch
    calls: set[Call] = field(default_factory=set)
    scratch: memoryview = field(default_factory=lambda: memoryview(bytearray(HEADER_SIZE + CHUNK)))
    """One for all connections: no other greenlet runs between recv_into() and the first send()."""


class RelayedConnection:
    """Owns the client's socket, which is non-blocking, until `run` returns."""

    def __init__(self, shared: RelayShared, client: socket.socket) -> None:
        self.moved = monotonic()
        """When (monotonic seconds) bytes last went in either direction."""
        self._shared = shared
        self._client = client
        self._call: Call = (None, None)
        self._watchers: list[_IoWatcher] = []
        self._broken = False
        self._aborted = False

    def run(self, opening: bytes, framing: Address | None) -> None:
        """Relays until both directions have ended.

        `opening` is sent upstream first. With `framing`, a ctframe header for that destination is
        sent before every chunk from the client.
        """
        fd = self._client.fileno()
        self._shared.resets.watch(fd, lambda: self.abort("reset:client"))
        try:
            upstream = self._dial()
        except AbortedError:
            pass
        except OSError as e:
            self._break(f"upstream:{errno.errorcode.get(e.errno or 0, 'error')}")
        else:
            self._relay(upstream, opening, framing)
            self._close(upstream)
        self._shared.calls.discard(self._call)
        self._shared.resets.forget(fd)
        self._close(self._client)

    def abort(self, why: str) -> None:
        """Ends the connection now, with RST to both sides. Counts `why`, unless one was counted."""
        self._break(why)
        if not self._aborted:
            self._aborted = True
            for watcher in self._watchers:
                self._shared.hub.cancel_wait(watcher, AbortedError())

    def _break(self, why: str) -> None:
        if not self._broken:
            self._broken = True
            self._shared.counters[why] += 1

    def _close(self, sock: socket.socket) -> None:
        if self._broken:
            reset(sock)
        else:
            sock.close()

    # Waiting

    def _watcher(self, sock: socket.socket, events: int) -> _IoWatcher:
        watcher = self._shared.hub.loop.io(sock.fileno(), events)
        self._watchers.append(watcher)
        return watcher

    def _unwatch(self, watcher: _IoWatcher) -> None:
        self._watchers.remove(watcher)
        watcher.close()

    def _wait(self, watcher: _IoWatcher) -> None:
        if self._aborted:
            raise AbortedError
        self._shared.hub.wait(watcher)

    def _wait_writable(self, sock: socket.socket) -> None:
        watcher = self._watcher(sock, WRITE)
        try:
            self._wait(watcher)
        finally:
            self._unwatch(watcher)

    # Dialling

    def _dial(self) -> socket.socket:
        """A socket connected to the first upstream address that answers.

        When none answers, raises the last one's OSError.
        """
        failure = OSError()
        for endpoint in self._shared.upstreams:
            sock = socket.socket(endpoint.family, socket.SOCK_STREAM)
            expired = TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            try:
                with gevent.Timeout(self._shared.connect_timeout, expired):
                    self._connect(sock, endpoint)
            except OSError as e:
                failure = e
                sock.close()
                self._shared.calls.discard(self._call)
            except AbortedError:
                sock.close()
                raise
            else:
                return sock
        raise failure

    def _connect(self, sock: socket.socket, endpoint: Endpoint) -> None:
        sock.setblocking(False)
        if endpoint.family != socket.AF_UNIX:
            tune(sock)
        while (error := sock.connect_ex(endpoint.sockaddr)) == errno.EAGAIN:
            # A unix listener's queue is full, and no event tells when that changes.
            gevent.sleep(_QUEUE_FULL_PAUSE)
            if self._aborted:
                raise AbortedError
        self._call = normal_address(sock.getsockname()), normal_address(endpoint.sockaddr)
        self._shared.calls.add(self._call)
        if error == errno.EINPROGRESS:
            self._wait_writable(sock)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))

    # Carrying

    def _relay(self, upstream: socket.socket, opening: bytes, framing: Address | None) -> None:
        self._shared.counters["relayed"] += 1
        near = Side("client", self._client, self._watcher(self._client, READ))
        far = Side("upstream", upstream, self._watcher(upstream, READ))
        back = gevent.spawn(self._carry, far, near, b"", None)
        self._carry(near, far, opening, framing)
        back.join()
        self._unwatch(near.readable)
        self._unwatch(far.readable)

    def _carry(self, src: Side, dst: Side, opening: bytes, framing: Address | None) -> None:
        try:
            if opening:
                self._deliver(opening, dst)
            self._pump(src, dst, framing)
            if not self._broken:
                dst.finish()
        except GoneError as gone:
            why = f"reset:{gone.side.name}"
            if gone.side is dst and dst.name == "upstream":
                # The upstream may have answered (413) before it reset the connection because of
                # our upload. The other greenlet delivers the answer, then reads the end.
                self._break(why)
            else:
                self.abort(why)
        except AbortedError:
            pass

    def _pump(self, src: Side, dst: Side, framing: Address | None) -> None:
        """Carries bytes until `src` ends. It waits before every read, so that others can run."""
        scratch = self._shared.scratch
        start = 0 if framing else HEADER_SIZE
        payload = scratch[HEADER_SIZE:]
        while True:
            self._wait(src.readable)
            size = src.receive_into(payload)
            if size is None:
                continue
            if not size:
                return
            if framing:
                scratch[:HEADER_SIZE] = frame_header(framing, size)
            self._deliver(scratch[start : HEADER_SIZE + size], dst)

    def _deliver(self, data: memoryview | bytes, dst: Side) -> None:
        self.moved = monotonic()
        sent = dst.send(data)
        if sent == len(data):
            return
        rest = memoryview(bytes(data[sent:]))  # other connections use the scratch buffer meanwhile
        while rest:
            self._wait_writable(dst.sock)
            sent = dst.send(rest)
            rest = rest[sent:]
            self.moved = monotonic()

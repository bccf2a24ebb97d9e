# SPDX-License-Identifier: MIT
"""The relay itself: accept, ask where the client was going, refuse or relay, count.

It refuses connections that were not redirected, and those whose destination is this host: a server
that dials such an origin would come back to this relay in an endless loop.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import gevent
from gevent.lock import BoundedSemaphore
from gevent.pool import Group

from ..errors import OriginError, Reason
from ..linux import normal_address, original_destination
from ..loops import LoopGuard
from ..origin import Address
from ..wire.address import show
from .connection import RelayedConnection, RelayShared
from .endpoint import Endpoint
from .injection import Injection
from .resets import READ, ResetWatch
from .side import reset, tune

_ACCEPT_PAUSE = 0.2
"""Seconds without accept() after it failed, for example because descriptors were used up."""

_LOG_INTERVAL = 1.0
"""Seconds between two log lines of the same kind, so that refused clients cannot fill the disk."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a relay spends on its connections."""

    connect_timeout: float = 10.0
    """Seconds for reaching the upstream."""
    idle_timeout: float = 3600.0
    """How many seconds neither direction may move; 0 = for ever."""
    max_connections: int = 1000
    """Beyond that, clients wait in the kernel's queue."""


class Relay:
    """Serves `listeners`: listening, non-blocking TCP sockets, which it then owns.

    Make, start and end it in one thread, whose gevent hub runs it. `own` are addresses that NAT
    translates to this host and no interface has.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        upstreams: Sequence[Endpoint],
        injection: Injection,
        *,
        own: Iterable[tuple[str, int | None]] = (),
        bounds: Bounds | None = None,
        log: logging.Logger | None = None,
    ) -> None:
        self.counters: Counter[str] = Counter()
        """`accepted`, `relayed`, `refused:<Reason>`, `upstream:<errno>`, `reset:client`,
        `reset:upstream`, `idle`, `stopped`, `accept:<errno>`."""
        self._listeners = listeners
        self._injection = injection
        self._bounds = bounds or Bounds()
        self._log = log or logging.getLogger("ctwsgi.relay")
        bound = (normal_address(listener.getsockname()) for listener in listeners)
        self._guard = LoopGuard([*own, *filter(None, bound)])
        self._slots = BoundedSemaphore(self._bounds.max_connections)
        self._serving = Group()
        self._connections: set[RelayedConnection] = set()
        self._accepting = Group()
        self._watching = Group()
        self._logged: dict[str, float] = {}
        self._hub = gevent.get_hub()
        self._shared = RelayShared(
            self._hub,
            upstreams,
            self._bounds.connect_timeout,
            self.counters,
            ResetWatch(self._hub),
        )

    def start(self) -> None:
        """Begins to accept. Returns at once."""
        self._watching.spawn(self._shared.resets.run)
        if self._bounds.idle_timeout:
            self._watching.spawn(self._reap)
        for listener in self._listeners:
            tune(listener)
            self._accepting.spawn(self._accept, listener)

    def close(self) -> None:
        """Stops accepting. Connections go on."""
        self._accepting.kill()
        for listener in self._listeners:
            listener.close()

    def drain(self, timeout: float) -> None:
        """After close(): waits up to `timeout` seconds for connections to end, resets the rest."""
        self._serving.join(timeout)
        self.abort_all()
        self._serving.join()
        self._watching.kill()

    def abort_all(self) -> None:
        """Resets every connection now."""
        for connection in self._connections:
            connection.abort("stopped")

    def summary(self) -> str:
        """The counters in one line, as `name=count` words."""
        words = [f"{name}={count}" for name, count in sorted(self.counters.items())]
        return " ".join([f"active={len(self._connections)}", *words])

    # Greenlets

    def _accept(self, listener: socket.socket) -> None:
        readable = self._hub.loop.io(listener.fileno(), READ)
        try:
            while True:
                self._hub.wait(readable)
                self._slots.acquire()
                if not self._accept_one(listener):
                    self._slots.release()
        finally:
            readable.close()

    def _accept_one(self, listener: socket.socket) -> bool:
        try:
            client, peer = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return False
        except OSError as e:
            # EMFILE and the like last for a while, and the listener stays readable meanwhile.
            self._count(f"accept:{errno.errorcode.get(e.errno or 0, 'error')}", str(e))
            gevent.sleep(_ACCEPT_PAUSE)
            return False
        self.counters["accepted"] += 1
        self._serving.spawn(self._serve, client, peer)
        return True

    def _serve(self, client: socket.socket, peer: Any) -> None:
        try:
            client.setblocking(False)
            source = normal_address(peer)
            assert source is not None
            destination = self._learn(client, source)
            opening = self._injection.opening(source, destination)
        except OriginError as e:
            self._count(f"refused:{e.reason}", f"{peer[0]}:{peer[1]}: {e.detail}")
            reset(client)
        else:
            self._log.debug("%s dialled %s", show(*source), show(*destination))
            connection = RelayedConnection(self._shared, client)
            self._connections.add(connection)
            connection.run(opening, destination if self._injection.framed else None)
            self._connections.discard(connection)
        finally:
            self._slots.release()

    def _learn(self, client: socket.socket, source: Address) -> Address:
        destination = original_destination(client)
        if destination is None:
            raise OriginError(Reason.NOT_REDIRECTED, "no packet filter redirected it here")
        if self._guard.refuses(destination):
            raise OriginError(Reason.LOOP, f"{show(*destination)} is this relay or its host")
        if (source, destination) in self._shared.calls:
            raise OriginError(
                Reason.LOOP, "our own connection to the upstream: exempt it from the redirect rule"
            )
        return destination

    def _reap(self) -> None:
        limit = self._bounds.idle_timeout
        while True:
            gevent.sleep(min(limit / 4, 15))
            oldest = monotonic() - limit
            for connection in self._connections:
                if connection.moved < oldest:
                    connection.abort("idle")

    def _count(self, name: str, detail: str) -> None:
        self.counters[name] += 1
        now = monotonic()
        if now - self._logged.get(name, float("-inf")) >= _LOG_INTERVAL:
            self._logged[name] = now
            self._log.warning("%s (%d so far): %s", name, self.counters[name], detail)

# SPDX-License-Identifier: MIT
"""A relay over loopback, with real sockets; only the original destination is made up.

The relay runs in a thread with a gevent hub of its own, the test plays client and upstream with
blocking sockets. What needs a real redirect is in tests/net/relay.
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import gevent
import pytest
from gevent.event import Event

from ctwsgi.relay import (
    Endpoint,
    Injection,
    Relay,
    listen,
    parse_listen,
    server,
)
from tests.lab.streams import receive_all
from tests.lab.wait import until

DIALLED = ("198.18.7.9", 8080)
DIALLED_V6 = ("2001:db8::7:9", 8443)
DEADLINE = 20.0


@contextmanager
def taken_port() -> Iterator[tuple[str, int]]:
    """An address that refuses connections. In the `with` no other program gets it by chance; a
    listener with SO_REUSEADDR may take it."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()


class Rig:
    """A relay in a thread, and the upstream that it dials."""

    def __init__(
        self,
        injection: Injection,
        upstream: socket.socket | Endpoint,
        stack: ExitStack,
        *,
        listens: tuple[str, ...] = ("127.0.0.1:0",),
        first: tuple[Endpoint, ...] = (),
        destination: Callable[[socket.socket], Any] = lambda sock: DIALLED,
        **options: Any,
    ) -> None:
        self.injection = injection
        self.upstream = upstream
        self._stack = stack
        self._listeners = [listen(parse_listen(text)) for text in listens]
        self.addresses = [listener.getsockname() for listener in self._listeners]
        self._first = first
        stack.enter_context(patch.object(server, "original_destination", destination))
        self._options = options
        self._started = threading.Event()
        self.closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._started.wait(DEADLINE)

    def _run(self) -> None:
        if isinstance(self.upstream, Endpoint):
            endpoint = self.upstream
        else:
            endpoint = Endpoint(self.upstream.family, self.upstream.getsockname())
        self.relay = Relay(
            self._listeners,
            [*self._first, endpoint],
            self.injection,
            **self._options,
        )
        hub = gevent.get_hub()
        self._stopping = Event()
        self._in_hub = hub.loop.run_callback_threadsafe
        self._timeout = 0.0
        self.relay.start()
        self._started.set()
        self._stopping.wait()
        self.relay.close()
        self.closed.set()
        self.relay.drain(self._timeout)
        hub.destroy(destroy_loop=True)

    def stop(self, timeout: float = 0.0, *, wait: bool = True) -> None:
        if self._thread.is_alive() and not self._stopping.is_set():
            self._timeout = timeout
            self._in_hub(self._stopping.set)
        if wait:
            self._thread.join(DEADLINE)
            assert not self._thread.is_alive()

    def abort_all(self) -> None:
        self._in_hub(self.relay.abort_all)

    @property
    def counters(self) -> Any:
        return self.relay.counters

    def dial(self, address: Any = None) -> socket.socket:
        sock = socket.create_connection((address or self.addresses[0])[:2], DEADLINE)
        return self._stack.enter_context(sock)

    def accept(self) -> socket.socket:
        assert isinstance(self.upstream, socket.socket)
        sock, _ = self.upstream.accept()
        sock.settimeout(DEADLINE)
        return self._stack.enter_context(sock)

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """A client's socket, and the upstream's socket for the same connection."""
        client = self.dial()
        return client, self.accept()

    def wait_count(self, name: str, number: int = 1) -> None:
        until(lambda: self.counters[name] == number, f"{name}={number}, have {self.counters}")


def assert_reset(sock: socket.socket) -> None:
    with pytest.raises(ConnectionResetError):
        receive_all(sock)


def assert_dial_is_reset(b: Rig) -> None:
    """Accepts that connect() itself fails, when the RST arrives before it returns."""
    with pytest.raises(ConnectionResetError):
        receive_all(b.dial())


def fill(sock: socket.socket, limit: int = 1 << 30) -> int:
    """Sends until the other side takes no more for a while; returns the number of bytes sent."""
    sock.setblocking(False)
    chunk, sent = bytes(1 << 18), 0
    while sent < limit and select.select([], [sock], [], 0.5)[1]:
        sent += sock.send(chunk)
    sock.settimeout(DEADLINE)
    return sent

# SPDX-License-Identifier: MIT
"""Runs a WSGIServer in a thread of its own, so that a test may block on ordinary sockets."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gevent.event import AsyncResult, Event

from ctwsgi.server import WSGIServer

DEADLINE = 20.0


class InThread:
    """A server in a thread, and calls into that thread; `running()` yields it."""

    def __init__(self, listener: socket.socket | tuple[str, int], application: Any) -> None:
        self._listener = listener
        self._application = application
        self.server: WSGIServer

    def call(self, function: Callable[[], Any]) -> Any:
        """Runs `function` in a greenlet of the server's thread, and returns its result."""
        done = threading.Event()
        result: AsyncResult = AsyncResult()

        def run() -> None:
            try:
                result.set(function())
            except BaseException as e:
                result.set_exception(e)
            done.set()

        self._loop.run_callback_threadsafe(gevent.spawn, run)
        assert done.wait(DEADLINE), "the server's thread does not answer"
        return result.get(block=False)

    def main(self, ready: Callable[[BaseException | None], None], options: dict[str, Any]) -> None:
        hub = gevent.get_hub()
        self._loop = hub.loop
        alive = hub.loop.timer(3600, 3600)  # keeps the hub's loop running after a drain
        alive.start(lambda: None)
        self._over = Event()
        try:
            self.server = WSGIServer(self._listener, self._application, **options)
            self.server.start()
        except BaseException as e:
            ready(e)
        else:
            ready(None)
            self._over.wait()
            self.server.stop(timeout=1)
        hub.destroy(destroy_loop=True)

    def end(self) -> None:
        self._loop.run_callback_threadsafe(self._over.set)


@contextmanager
def running(
    application: Any, listener: socket.socket | tuple[str, int] = ("127.0.0.1", 0), **options: Any
) -> Iterator[InThread]:
    """Serves `application` in the `with`. It raises what start() raises."""
    outcome: list[BaseException | None] = []
    told = threading.Event()

    def ready(error: BaseException | None) -> None:
        outcome.append(error)
        told.set()

    runner = InThread(listener, application)
    thread = threading.Thread(target=runner.main, args=(ready, options), daemon=True)
    thread.start()
    assert told.wait(DEADLINE)
    try:
        if outcome[0] is not None:
            raise outcome[0]
        yield runner
    finally:
        if outcome[0] is None:
            runner.end()
        thread.join(DEADLINE)
        assert not thread.is_alive(), "the server did not stop"


def tell_origin(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """An application that answers with the origin in environ, as JSON."""
    keys = ("REMOTE_ADDR", "REMOTE_PORT", "SERVER_NAME", "SERVER_PORT", "wsgi.url_scheme")
    keys += ("ct.orig_dst", "ct.orig_src", "ct.source", "ct.verified")
    told = {key: environ[key] for key in keys}
    origin = environ["ct.origin"]
    told["auth"] = origin.auth
    told["tlvs"] = [[kind, value.hex()] for kind, value in origin.tlvs]
    body = json.dumps(told).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]


def ask(sock: socket.socket, prefix: bytes = b"") -> dict[str, Any]:
    """Sends `prefix` and a GET over `sock`. Returns the JSON of tell_origin()'s answer."""
    sock.sendall(prefix + b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    return read_json(sock)


def read_json(sock: socket.socket) -> dict[str, Any]:
    """Reads one response with a Content-Length from `sock`."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = sock.recv(1)
        if not piece:
            raise ConnectionError(f"closed after {head!r}")
        head += piece
    assert head.startswith(b"HTTP/1.1 200 "), head
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    body = b""
    while len(body) < length:
        body += sock.recv(length - len(body))
    return json.loads(body)  # type: ignore[no-any-return]

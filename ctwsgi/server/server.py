# SPDX-License-Identifier: MIT
"""`WSGIServer`: a gevent StreamServer that tells a WSGI application each connection's origin.

    from gevent.monkey import patch_all; patch_all()
    from .. import WSGIServer

    WSGIServer(("127.0.0.1", 8000), application, source="conntrack").serve_forever()

Used like gevent.pywsgi.WSGIServer; docs/differences.md says where it behaves otherwise.
"""

from __future__ import annotations

import _socket  # the C class: no Python layer between us and the kernel
import errno
import logging
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any
from wsgiref.util import FileWrapper

from gevent.event import Event
from gevent.server import StreamServer
from gevent.socket import socket as GeventSocket

from ..http.limits import Limits, Timeouts
from ..linux import normal_address
from ..source import Source, make_source
from ..version import __version__
from ..wire.address import show
from .connection import Connection, Idle
from .greenlets import Greenlets
from .ratelimit import RateLimit
from .transport import TlsTransport, Transport

if TYPE_CHECKING:
    from ..errors import OriginError
    from ..http.errors import HTTPError
    from ..http.response import Response
    from ..origin import Address

_RECV_SIZE = 65536
_REAP_EVERY = 1.0
_ACCEPT_PAUSE = 0.5
_SHORT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Accepting again at once would fail again: the connection stays in the queue meanwhile."""
_IDLE_GRACE = 0.5
"""Seconds: a client that has just been answered, or has just connected, may be sending already."""

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Access:
    """One answered request, for an access log."""

    environ: dict[str, Any]
    status: str
    headers: list[tuple[str, str]]
    sent: int
    """Bytes of body."""
    seconds: float


class WSGIServer(StreamServer):
    """Serves `application` on `listener`: an address as gevent takes it, or a listening socket.

    `source` is a name from source.SOURCES or a Source. start() raises ValueError, with what to
    do, when the listener would let anybody write an origin (UnsafeListener).
    """

    max_accept = 100

    def __init__(
        self,
        listener: Any,
        application: WSGIApplication,
        *,
        source: str | Source = "none",
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        max_connections: int = 1000,
        backlog: int | None = None,
        environ: Mapping[str, Any] | None = None,
        log: logging.Logger | None = None,
        access: Callable[[Access], None] | None = None,
        counters: Counter[str] | None = None,
        multiprocess: bool = False,
        **ssl_args: Any,
    ) -> None:
        self.application = application
        self.source = make_source(source) if isinstance(source, str) else source
        self.timeouts = timeouts or Timeouts()
        self.limits = limits or Limits()
        self.max_connections = max_connections
        self.log = log or logging.getLogger("ctwsgi")
        self.access = access
        self.counters = Counter() if counters is None else counters
        """Outcomes by name: `accepted`, `requests`, `refused:REASON`, `bad-request:REASON`, ..."""
        self.served = 0
        self.draining = False
        """Idle connections close, begun requests are answered, nothing new is accepted."""
        self.cutting = False
        """Whatever still waits for its client ends."""
        self.buffer = bytearray(_RECV_SIZE)
        """Shared by all connections: nothing blocks between recv_into() and the parser."""
        self.bound: Address | None = None
        self.environ: dict[str, Any] = {}
        self._extra_environ = dict(environ or {})
        self._multiprocess = multiprocess
        self._connections: set[Connection] = set()
        self._ended = Event()
        self._drains = Event()
        """Not set while drain() is at work."""
        self._drains.set()
        self._reaper: Any = None
        self._greenlets: Greenlets
        self._noise = RateLimit(self.log)
        if multiprocess:
            self.max_accept = 1  # leave some for the other workers
        super().__init__(listener, None, backlog, **ssl_args)

    # Starting.

    def handle(self, *args: Any) -> None:
        """StreamServer wants the name; do_handle() below does the work."""
        raise NotImplementedError

    def init_socket(self) -> None:
        """Binds if need be; checks that this source may listen here."""
        super().init_socket()
        self.socket.setblocking(False)  # an ordinary listener blocks: the hub must not
        self.bound = normal_address(self.address)
        if self.bound is not None:
            # Accepted sockets inherit it, at no cost for each of them.
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.source.check(self.address)
            self.source.prepare(self.socket)
        except ValueError:
            self.close()
            raise
        self.environ = self._server_environ()
        self.draining = self.cutting = False
        self._greenlets = Greenlets()

    def start(self) -> None:
        """Starts to accept. Deadlines are enforced from here on."""
        if self.started:
            return
        super().start()
        shortest = min((t for t in vars(self.timeouts).values() if t), default=_REAP_EVERY)
        every = min(_REAP_EVERY, shortest / 4)
        self._reaper = self.loop.timer(every, repeat=every, ref=False)
        self._reaper.start(self._reap)

    def _server_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = {
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https" if self.ssl_enabled else "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": False,
            "wsgi.multiprocess": self._multiprocess,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "wsgi.file_wrapper": FileWrapper,
            "SCRIPT_NAME": "",
            "SERVER_SOFTWARE": f"ctwsgi/{__version__}",
            "GATEWAY_INTERFACE": "CGI/1.1",
        }
        if self.bound is None:
            environ["SERVER_NAME"], environ["SERVER_PORT"] = "localhost", "80"
        else:
            host, port = self.bound
            environ["SERVER_PORT"] = str(port)
            if host not in ("0.0.0.0", "::") or self.source.name == "tproxy":
                environ["SERVER_NAME"] = host
        environ.update(self._extra_environ)
        return environ

    # Accepting: StreamServer's loop calls full(), do_read() and do_handle().

    def full(self) -> bool:
        """At the cap, clients wait in the kernel's backlog until a connection ends."""
        return len(self._connections) >= self.max_connections

    def do_read(self) -> Any:
        """Accepts one connection as a bare non-blocking socket."""
        listener: Any = self.socket
        try:
            fd, address = listener._accept()
        except BlockingIOError:
            return None
        except ConnectionAbortedError:
            return None  # the client left while it was queued
        except OSError as e:
            if e.errno not in _SHORT_OF:
                raise
            self._noise.warning("cannot accept: %s; trying again in %g s", e, _ACCEPT_PAUSE)
            self.stop_accepting()
            self._timer = self.loop.timer(_ACCEPT_PAUSE)
            self._timer.start(self._resume)
            return None
        if self.ssl_enabled:
            return GeventSocket(listener.family, listener.type, listener.proto, fileno=fd), address
        sock = _socket.socket(listener.family, listener.type, listener.proto, fd)
        sock.setblocking(False)
        return sock, address

    def _resume(self) -> None:
        if self.started:
            self.start_accepting()

    def do_handle(self, *args: Any) -> None:
        """Gives the connection a greenlet."""
        sock, address = args
        transport_class = TlsTransport if self.ssl_enabled else Transport
        connection = Connection(self, transport_class(sock, self.timeouts.body), address)
        self._connections.add(connection)
        self.counters["accepted"] += 1
        connection.idle_since = time.monotonic()
        self._greenlets.spawn(connection.run)

    def handshake(self, transport: Transport) -> None:
        """TLS, where there is any."""
        if isinstance(transport, TlsTransport):
            wrap: Any = vars(self)["wrap_socket"]  # set by StreamServer, not a method
            transport.handshake(lambda sock: wrap(sock, **(self.ssl_args or {})))

    # What connections tell.

    def forget(self, connection: Connection) -> None:
        """A connection has ended: make room for another."""
        was_full = self.full()
        self._connections.discard(connection)
        if not self._connections:
            self._ended.set()
            if self.cutting:
                self._stop_reaper()
        if was_full:
            self._resume()

    def answered(self, environ: dict[str, Any], response: Response, started: float) -> None:
        """A response is out, whole or not."""
        self.served += 1
        self.counters["requests"] += 1
        if self.access is not None:
            seconds = time.monotonic() - started
            try:
                self.access(
                    Access(environ, response.status, response.headers, response.sent, seconds)
                )
            except Exception:
                self.log.exception("error in the access log")

    def refused(self, error: OriginError, peer: Address | None) -> None:
        """An origin was not accepted."""
        self.counters[f"refused:{error.reason}"] += 1
        self._noise.warning("origin refused: %s (peer %s)", error, _show(peer))

    def bad_request(self, error: HTTPError, peer: Address | None) -> None:
        """A request was not accepted."""
        self.counters[f"bad-request:{error.reason}"] += 1
        self._noise.info("bad request: %s (peer %s)", error, _show(peer))

    # Deadlines and stopping.

    def _reap(self) -> None:
        """In the hub: one pass over all connections instead of a timer for each request."""
        now = time.monotonic()
        # Each in a callback of its own: what one lets escape does not keep us from the next.
        again = self.loop.run_callback
        for connection in self._connections:
            transport = connection.transport
            if transport.expired(now):
                again(transport.expire, now)
            if self.cutting:
                again(transport.interrupt, Idle())
            elif self.draining and connection.idle_since < now - _IDLE_GRACE:
                again(self._close_idle, connection)

    @staticmethod
    def _close_idle(connection: Connection) -> None:
        if connection.idle_since < inf and not connection.transport.arrived():
            connection.transport.interrupt(Idle())

    def drain(self, timeout: float) -> bool:
        """Stops accepting, lets begun requests end, closes idle connections. False: some remain.

        Blocks the calling greenlet for `timeout` seconds at most.
        """
        self.draining = True
        self._drains.clear()
        self.close()
        every = _IDLE_GRACE / 5
        timer = self.loop.timer(every, repeat=every)
        timer.start(self._reap)
        try:
            if not self._connections:
                return True
            self._ended.clear()
            return bool(self._ended.wait(timeout))
        finally:
            timer.close()
            self._drains.set()

    def stop(self, timeout: float | None = None) -> None:
        """drain()s for `timeout` seconds (default: stop_timeout), then cuts what is left."""
        if not self.drain(self.stop_timeout if timeout is None else timeout):
            self.cutting = True
            self.loop.run_callback(self._reap)
            self._ended.wait(self.stop_timeout)
        self._greenlets.close()
        if not self._connections:
            self._stop_reaper()

    def _stop_reaper(self) -> None:
        if self._reaper is not None:
            self._reaper.close()
            self._reaper = None

    def serve_forever(self, stop_timeout: float | None = None) -> None:
        """Starts, and returns once the server has been stopped; a drain() may take its time."""
        if not self.started:
            self.start()
        try:
            vars(self)["_stop_event"].wait()  # BaseServer's, set by close()
            self._drains.wait()
        finally:
            self.stop(stop_timeout)


def _show(peer: Address | None) -> str:
    if peer is None:
        return "on a unix socket"
    return show(*peer)

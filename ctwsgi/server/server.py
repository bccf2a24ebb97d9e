# SPDX-License-Identifier: MIT
"""`WSGIServer`: a gevent StreamServer that gives a WSGI application each connection's origin.

    from gevent.monkey import patch_all; patch_all()
    from ctwsgi import WSGIServer

    WSGIServer(("127.0.0.1", 8000), application, source="conntrack").serve_forever()

It is used like gevent.pywsgi.WSGIServer; docs/differences.md lists what differs.
"""

from __future__ import annotations

import _socket  # the C class: without the Python methods of socket.socket
import errno
import logging
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
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
from .connection import Idle, ServedConnection
from .greenlets import Greenlets
from .outcomes import Access, Outcomes
from .shared import ServerShared, WSGIApplication
from .transport import SocketTransport, TlsTransport

if TYPE_CHECKING:
    from ..origin import Address

_REAP_EVERY = 1.0
_ACCEPT_PAUSE = 0.5
_SHORT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""After these errors accept() would fail again at once: the server pauses, and the connection stays
in the kernel's queue."""
_IDLE_GRACE = 0.5
"""Seconds that a draining server leaves to a new or just answered connection: its client may be
sending already."""


class WSGIServer(StreamServer):
    """Serves `application` on `listener`: an address as gevent takes it, or a listening socket.

    `source` is a name from source.SOURCES or a Source. start() raises UnsafeListener, a ValueError
    that says what to do, when anybody could write an origin on this listener.
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
        self._shared = ServerShared(
            application,
            make_source(source) if isinstance(source, str) else source,
            timeouts or Timeouts(),
            limits or Limits(),
            Outcomes(log or logging.getLogger("ctwsgi"), access, counters),
        )
        self.max_connections = max_connections
        self._extra_environ = dict(environ or {})
        self._multiprocess = multiprocess
        self._connections: set[ServedConnection] = set()
        self._ended = Event()
        self._drains = Event()
        """Not set while drain() runs."""
        self._drains.set()
        self._reaper: Any = None
        self._greenlets: Greenlets
        if multiprocess:
            self.max_accept = 1  # leave connections for the other workers
        super().__init__(listener, None, backlog, **ssl_args)

    @property
    def application(self) -> WSGIApplication:
        """May be replaced at any time; the next request gets the new one."""
        return self._shared.application

    @application.setter
    def application(self, application: WSGIApplication) -> None:
        self._shared.application = application

    @property
    def access(self) -> Callable[[Access], None] | None:
        """Called with each answered request; may be replaced at any time."""
        return self._shared.outcomes.access

    @access.setter
    def access(self, access: Callable[[Access], None] | None) -> None:
        self._shared.outcomes.access = access

    @property
    def source(self) -> Source:
        return self._shared.source

    @property
    def timeouts(self) -> Timeouts:
        return self._shared.timeouts

    @property
    def limits(self) -> Limits:
        return self._shared.limits

    @property
    def log(self) -> logging.Logger:
        return self._shared.outcomes.log

    @property
    def counters(self) -> Counter[str]:
        """Outcomes by name: `accepted`, `requests`, `refused:REASON`, `bad-request:REASON`, ..."""
        return self._shared.outcomes.counters

    @property
    def served(self) -> int:
        """How many responses were sent, completely or in part."""
        return self._shared.outcomes.served

    @property
    def bound(self) -> Address | None:
        """The listener's own address; None for a unix socket."""
        return self._shared.bound

    @property
    def draining(self) -> bool:
        """Whether idle connections close and nothing new is accepted."""
        return self._shared.draining

    # Starting.

    def handle(self, *args: Any) -> None:
        """StreamServer requires the name; do_handle() below does the work."""
        raise NotImplementedError

    def init_socket(self) -> None:
        """Binds if needed, and checks that this source may listen here."""
        super().init_socket()
        self.socket.setblocking(False)  # accept() must never block the hub
        shared = self._shared
        shared.bound = normal_address(self.address)
        if shared.bound is not None:
            # Accepted sockets inherit the option, which saves a call for each of them.
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            shared.source.check(self.address)
            shared.source.prepare(self.socket)
        except ValueError:
            self.close()
            raise
        shared.environ = self._server_environ()
        shared.draining = shared.cutting = False
        self._greenlets = Greenlets()

    def start(self) -> None:
        """Starts to accept, and to enforce deadlines."""
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
        """True at the cap: clients then wait in the kernel's backlog until a connection ends."""
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
            self._shared.outcomes.limited_log.warning(
                "cannot accept: %s; trying again in %g s", e, _ACCEPT_PAUSE
            )
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
        """Starts the connection's greenlet."""
        sock, address = args
        connection = ServedConnection(self._shared, self._transport(sock), address)
        self._connections.add(connection)
        self.counters["accepted"] += 1
        connection.idle_since = time.monotonic()
        self._greenlets.spawn(partial(self._serve, connection))

    def _transport(self, sock: Any) -> SocketTransport:
        stall = self.timeouts.body
        if not self.ssl_enabled:
            return SocketTransport(sock, stall)
        wrap: Any = vars(self)["wrap_socket"]  # set by StreamServer, not a method
        return TlsTransport(sock, stall, partial(wrap, **(self.ssl_args or {})))

    def _serve(self, connection: ServedConnection) -> None:
        """The function that a connection's greenlet runs."""
        try:
            connection.run()
        finally:
            self._forget(connection)

    def _forget(self, connection: ServedConnection) -> None:
        """A connection has ended: another may take its place."""
        was_full = self.full()
        self._connections.discard(connection)
        if not self._connections:
            self._ended.set()
            if self._shared.cutting:
                self._stop_reaper()
        if was_full:
            self._resume()

    # Deadlines and stopping.

    def _reap(self) -> None:
        """Ends waits that have passed their deadline. Runs in the hub.

        One pass over all connections costs less than a timer for each request.
        """
        now = time.monotonic()
        # A callback for each, so that an exception in one does not stop the loop.
        call = self.loop.run_callback
        for connection in self._connections:
            transport = connection.transport
            if transport.expired(now):
                call(transport.expire, now)
            if self._shared.cutting:
                call(transport.interrupt, Idle())
            elif self._shared.draining and connection.idle_since < now - _IDLE_GRACE:
                call(self._close_idle, connection)

    @staticmethod
    def _close_idle(connection: ServedConnection) -> None:
        if connection.idle_since < inf and not connection.transport.arrived():
            connection.transport.interrupt(Idle())

    def drain(self, timeout: float) -> bool:
        """Stops accepting, answers begun requests, closes idle connections.

        Blocks the calling greenlet for `timeout` seconds at most. False: connections remain.
        """
        self._shared.draining = True
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
        """drain()s for `timeout` seconds (default: stop_timeout), then ends the rest."""
        if not self.drain(self.stop_timeout if timeout is None else timeout):
            self._shared.cutting = True
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
        """Starts, and returns when the server has been stopped; it waits for a running drain()."""
        if not self.started:
            self.start()
        try:
            vars(self)["_stop_event"].wait()  # BaseServer's, set by close()
            self._drains.wait()
        finally:
            self.stop(stop_timeout)

# SPDX-License-Identifier: MIT
"""gunicorn's worker class: our server in a process that gunicorn starts, reloads and stops.

The constructor runs in the master before the fork. It does what needs privileges (key files,
IP_TRANSPARENT). An error there stops gunicorn with one line; after an error in a worker gunicorn
would start workers again and again.
"""

from __future__ import annotations

import os
import time
import traceback
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any, ClassVar

import gevent
import gevent.event
import gevent.socket
from gunicorn import systemd
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.http.wsgi import WSGIErrorsWrapper
from gunicorn.workers.base import Worker

from .http.limits import Limits, Timeouts
from .server import Access, WSGIServer
from .serving import options
from .serving.accesslog import reporter, wants_access
from .serving.honoured import refuse_unhonoured
from .serving.listeners import KeyRings, Listener, bound_name, make_listener, names_of
from .serving.options import Options, show_name
from .serving.patch import give_early_signals, patch, signals_blocked
from .serving.summary import Summary

_HEARTBEAT = 1.0


class CtWorker(Worker):  # type: ignore[misc]
    """`gunicorn -k ctwsgi.worker.CtWorker`, with options from CTWSGI_*; `ctwsgi serve` uses it."""

    _inherited: ClassVar[int] = 0
    """The number of sockets that systemd handed to the master."""
    _keys: ClassVar[KeyRings] = KeyRings()
    _settled: ClassVar[tuple[Any, list[Any], list[Listener]] | None] = None
    """The master's last good Config and sockets, and a Listener for each socket."""

    @classmethod
    def setup(cls) -> None:
        """gunicorn calls this when it loads the class, before --preload imports the application."""
        patch()
        cls._inherited = systemd.listen_fds(unset_environment=False) or cls._inherited

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """gunicorn calls this at the start. RuntimeError is shown as one line."""
        # Its server needs a real thread for an asyncio loop, and gevent has replaced threads.
        cfg.set("control_socket_disable", True)
        try:
            refuse_unhonoured(cfg)
        except ValueError as e:
            raise RuntimeError(str(e)) from None

    def __init__(
        self, age: int, ppid: int, sockets: Any, app: Any, timeout: float, cfg: Any, log: Any
    ) -> None:
        super().__init__(age, ppid, sockets, app, timeout, cfg, log)
        self.counters: Counter[str] = Counter()
        self._summary = Summary(self.counters, log)
        self._woken: gevent.event.Event | None = None
        self._options = self._read_options()
        # With --reuse-port each worker opens its own sockets, after the fork.
        self._listeners = self._settle() if sockets else []

    def _read_options(self) -> Options:
        read: Callable[[Any], Options] | None = getattr(type(self.cfg), "ct_options", None)
        if read is not None:
            return read(self.cfg)
        try:
            values = options.from_environ(os.environ)
        except ValueError as e:
            raise HaltServer(str(e)) from None
        tls = {
            name: [value]
            for name in ("certfile", "keyfile")
            if (value := self.cfg.settings[name].get())
        }
        return options.from_settings({**values, **tls})

    def _settle(self) -> list[Listener]:
        """The Listeners for our sockets; the last good ones when a reload has bad options."""
        cls = type(self)
        sockets = list(self.sockets)
        if cls._settled is not None and cls._settled[0] is self.cfg:
            return cls._settled[2]
        try:
            refuse_unhonoured(self.cfg)
            listeners = self._make_listeners()
        except (OSError, ValueError) as e:
            if cls._settled is None or cls._settled[1] != sockets:
                raise HaltServer(str(e)) from None
            self.log.error("%s; the listeners stay as they were", e)
            listeners = cls._settled[2]
        cls._settled = (self.cfg, sockets, listeners)
        return listeners

    def _make_listeners(self) -> list[Listener]:
        names = names_of(self.cfg.address, self._inherited, self.sockets)
        listeners = []
        for sock, chosen in zip(self.sockets, options.assign(self._options, names), strict=True):
            listener = make_listener(chosen, self._keys, self.log)
            listener.source.check(sock.getsockname())
            listener.source.prepare(sock.sock)
            listeners.append(listener)
            tls = ", TLS" if listener.tls else ""
            name = show_name(bound_name(sock.getsockname()))
            self.log.info("%s: source %s%s", name, chosen.source, tls)
        return listeners

    def init_process(self) -> None:
        if not self._listeners:
            try:
                self._listeners = self._make_listeners()
            except (OSError, ValueError) as e:
                self.log.error("%s", e)
                raise SystemExit(Arbiter.WORKER_BOOT_ERROR) from None
        if self.cfg.reload_engine == "auto":
            # `auto` takes inotify where it is installed, and inotify blocks the whole process.
            self.cfg.set("reload_engine", "poll")
        super().init_process()

    def init_signals(self) -> None:
        with signals_blocked():  # it takes all handlers away before it sets new ones
            super().init_signals()
        give_early_signals()

    def run(self) -> None:
        """Serves until it is told to stop, then waits for begun requests to end."""
        self._woken = gevent.event.Event()
        servers = [self._server(*pair) for pair in zip(self.sockets, self._listeners, strict=True)]
        for server in servers:
            server.start()
        try:
            while self.alive:
                self.notify()
                self._summary.log_changes()
                self._woken.wait(_HEARTBEAT)
            self._drain(servers)
        finally:
            self._summary.log_changes(at_once=True)

    def _server(self, sock: Any, listener: Listener) -> WSGIServer:
        cfg = self.cfg
        own = gevent.socket.socket(sock.FAMILY, fileno=sock.sock.detach())
        tls: dict[str, Any] = {"ssl_context": listener.tls} if listener.tls else {}
        return WSGIServer(
            own,
            self.wsgi,
            source=listener.source,
            timeouts=Timeouts(
                origin=self._options.origin_timeout,
                request=self._options.request_timeout,
                body=self._options.body_timeout,
                keepalive=cfg.keepalive,
            ),
            limits=Limits(
                request_line=cfg.limit_request_line,
                header_count=cfg.limit_request_fields,
                header_field=cfg.limit_request_field_size or Limits.header_block,
            ),
            max_connections=cfg.worker_connections,
            environ={"wsgi.errors": WSGIErrorsWrapper(cfg)},
            log=self.log.error_log,
            access=self._access(),
            counters=self.counters,
            multiprocess=cfg.workers > 1,
            **tls,
        )

    def _access(self) -> Callable[[Access], None] | None:
        report = reporter(self.log) if wants_access(self.log) else None
        if not self.cfg.max_requests:
            return report

        def count(access: Access) -> None:
            if report is not None:
                report(access)
            self.nr += 1
            if self.nr == self.max_requests:
                self.log.info("Autorestarting worker after %d requests", self.nr)
                self._stop()

        return count

    def _drain(self, servers: list[WSGIServer]) -> None:
        timeout = self.cfg.graceful_timeout
        ends = time.monotonic() + timeout
        draining = [gevent.spawn(server.drain, timeout) for server in servers]
        while len(gevent.joinall(draining, timeout=_HEARTBEAT)) < len(draining):
            super().notify()
            if time.monotonic() > ends + _HEARTBEAT:
                break
        if not all(greenlet.value for greenlet in draining):
            self.log.warning("Worker graceful timeout (pid:%s)", self.pid)

    def _stop(self) -> None:
        self.alive = False
        if self._woken is not None:
            self._woken.set()

    def notify(self) -> None:
        """Sends the heartbeat, or the master would kill this worker; stops without a master."""
        super().notify()
        if self.ppid != os.getppid():
            self.log.info("Parent changed, shutting down: %s", self)
            self._stop()

    # Signal handlers run between two bytecodes of any greenlet, or of the hub. So they only set a
    # flag or start a greenlet; what may block runs there.

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.alive = False
        gevent.get_hub().loop.run_callback_threadsafe(self._stop)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        gevent.spawn(super().handle_quit, sig, frame)

    def handle_abort(self, sig: int, frame: FrameType | None) -> None:
        """The master got no heartbeat: some code in this process blocks all greenlets."""
        self.log.error("Worker is blocked at:\n%s", "".join(traceback.format_stack(frame)))
        self.cfg.worker_abort(self)
        os._exit(1)  # SystemExit would be raised in the code that blocks, which may catch it

    def handle_usr1(self, sig: int, frame: FrameType | None) -> None:
        gevent.spawn(super().handle_usr1, sig, frame)

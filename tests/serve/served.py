# SPDX-License-Identifier: MIT
"""Starts `ctwsgi serve` or gunicorn as real processes, and talks to them over real sockets.

The test opens the listening sockets and passes them as fd://N. So no port is guessed, and a request
before the server has started waits in the kernel's queue. The end of a test kills the process
group.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.lab.streams import receive_until_closed
from tests.lab.wait import until

DEADLINE = 60.0  # seconds; generous, because only a hang reaches it

ECHO = """
import json, os

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    keys = ("ct.orig_dst", "ct.orig_src", "ct.source", "ct.verified", "wsgi.multiprocess",
            "wsgi.url_scheme", "SERVER_SOFTWARE", "REMOTE_ADDR", "HTTP_X_FORWARDED_FOR")
    return [json.dumps({**{k: environ.get(k) for k in keys}, "pid": os.getpid()}).encode()]
"""

_LEAKY = ("CTWSGI_", "GUNICORN_", "LISTEN_", "NOTIFY_SOCKET", "PORT", "WEB_CONCURRENCY")


class Served:
    """One server process and its workers."""

    def __init__(
        self,
        directory: Path,
        *args: str,
        app: str | None = ECHO,
        listeners: int = 1,
        gunicorn: bool = False,
        target: str = "app:app",
        env: dict[str, str] | None = None,
        module: bool = False,
    ) -> None:
        self.directory = directory
        if app is not None:
            (directory / "app.py").write_text(app)
        sockets = [socket.create_server(("127.0.0.1", 0), backlog=2048) for _ in range(listeners)]
        self.addresses = [s.getsockname() for s in sockets]
        self.binds = [f"fd://{s.fileno()}" for s in sockets]
        self.log_path = directory / "log"
        command = [sys.executable, "-m", "ctwsgi", "serve"]
        if gunicorn:
            command = [sys.executable, "-m", "gunicorn", "-k", "ctwsgi.worker.CtWorker"]
        elif not module:
            command = [str(Path(sys.executable).with_name("ctwsgi")), "serve"]
        command += [word for bind in self.binds for word in ("--bind", bind)]
        filled = [fill(a, self.binds) for a in args]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *filled, *([target] if target else [])],
                cwd=directory,
                env=clean_environ(env or {}, self.binds),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[s.fileno() for s in sockets],
                start_new_session=True,
            )
        for s in sockets:
            s.close()

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(DEADLINE)

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def wait_log(self, text: str, count: int = 1) -> None:
        """Waits until the log has `text` `count` times."""
        try:
            until(lambda: self.log.count(text) >= count, text)
        except TimeoutError:
            raise AssertionError(f"never logged {text!r} x{count}:\n{self.log}") from None

    def wait_exit(self) -> int:
        """Waits for the master's exit status. It ends after its workers."""
        return self.process.wait(DEADLINE)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def workers(self) -> set[int]:
        """The process ids of the master's children."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return {int(pid) for pid in path.read_text().split()}

    def connect(self, listener: int = 0) -> socket.socket:
        return socket.create_connection(self.addresses[listener], DEADLINE)

    def get(
        self, path: str = "/", *, listener: int = 0, before: bytes = b"", headers: str = ""
    ) -> tuple[int, bytes]:
        """(status, body) of a request on a new connection. Status 0: closed without an answer."""
        with self.connect(listener) as sock:
            sock.sendall(before + request(path, headers))
            try:
                return answer(receive_until_closed(sock))
            except TimeoutError:
                raise AssertionError(f"no answer in {DEADLINE:g} s:\n{self.log}") from None


def clean_environ(extra: dict[str, str], binds: Sequence[str]) -> dict[str, str]:
    """This process's environment without variables that configure a server, plus `extra`."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(_LEAKY)}
    return {**environ, **{k: fill(v, binds) for k, v in extra.items()}}


def fill(text: str, binds: Sequence[str]) -> str:
    """Replaces `{0}` by the first listener as --bind spells it, and so on."""
    for i, bind in enumerate(binds):
        text = text.replace("{%d}" % i, bind)
    return text


def request(path: str = "/", headers: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n".encode("latin-1")


def answer(data: bytes) -> tuple[int, bytes]:
    head, _, body = data.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1]) if head else 0
    if b"transfer-encoding: chunked" in head.lower():
        whole = b""
        while body and (size := int(body.partition(b"\r\n")[0], 16)):
            rest = body.partition(b"\r\n")[2]
            whole, body = whole + rest[:size], rest[size + 2 :]
        body = whole
    return status, body

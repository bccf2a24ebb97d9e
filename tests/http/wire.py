# SPDX-License-Identifier: MIT
"""A real server in a thread of its own, and a raw client with a strict reader.

The server's greenlets run in another OS thread with its own hub, so that a client may block on an
ordinary socket. Every server listens on TCP and on a unix socket. Only a unix socket's sender
learns (SIOCOUTQ) that the receiver has *read* what was sent, so that two pieces certainly arrive in
two recv() calls. `Client.send_apart` relies on it.

The reader refuses every response that RFC 9112 does not allow a server to send.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import struct
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import gevent
import gevent.event
import gevent.socket

DEADLINE = 20.0
"""Seconds after which a test gives up. No result depends on how long something takes."""


class Broken(AssertionError):
    """The server sent something that RFC 9112 forbids, or too little."""


def until(condition: Callable[[], Any], what: str) -> Any:
    """Polls until `condition()` is true, and returns its value. Fails after DEADLINE."""
    end = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < end, f"still waiting for: {what}"
        time.sleep(0.002)
    return value


# ---------------------------------------------------------------------------------------------
# the server


class Running:
    """`with Running(app, **WSGIServer options) as server:`; `.tcp` and `.unix` are addresses."""

    def __init__(self, app: Callable[..., Any], factory: Any = None, **options: Any) -> None:
        if factory is None:
            from ctwsgi.server import WSGIServer

            factory = WSGIServer
        self._factory, self._app, self._options = factory, app, options
        self._folder = tempfile.TemporaryDirectory()
        self.unix = os.path.join(self._folder.name, "s")
        self.tcp: tuple[str, int] = ("", 0)
        self.servers: list[Any] = []
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        hub = gevent.get_hub()
        self._stop = gevent.event.Event()
        self._loop = hub.loop
        try:
            unix = gevent.socket.socket(socket.AF_UNIX)
            unix.bind(self.unix)
            unix.listen(512)
            tcp = gevent.socket.socket(socket.AF_INET)
            tcp.bind(("127.0.0.1", 0))
            tcp.listen(512)
            self.tcp = tcp.getsockname()
            for listener in (tcp, unix):
                self.servers.append(self._factory(listener, self._app, **self._options))
                self.servers[-1].start()
        except BaseException as e:
            self._error = e
            self._ready.set()
            return
        self._ready.set()
        self._stop.wait()
        for server in self.servers:
            server.stop(timeout=1)
        hub.destroy(destroy_loop=True)

    def call(self, function: Callable[[], Any]) -> None:
        """Runs `function` in the hub of the server's thread. It must not block."""
        self._loop.run_callback_threadsafe(function)

    def __enter__(self) -> Running:
        self._thread.start()
        assert self._ready.wait(DEADLINE)
        if self._error is not None:
            raise self._error
        return self

    def __exit__(self, *exc: object) -> None:
        self.call(self._stop.set)
        self._thread.join(DEADLINE)
        self._folder.cleanup()
        assert not self._thread.is_alive(), "the server did not stop"

    def counter(self, name: str) -> int:
        return sum(server.counters[name] for server in self.servers)


# ---------------------------------------------------------------------------------------------
# the client


@dataclass
class Response:
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    framing: str = "none"
    """How the body was delimited: `length`, `chunked`, `close` or `none`."""
    interim: list[int] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)

    def __getitem__(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) < 2, f"{name} is there {len(values)} times"
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [v for n, v in self.headers if n.lower() == name.lower()]

    @property
    def says_close(self) -> bool:
        tokens = ",".join(self.all("connection")).lower().split(",")
        return "close" in (t.strip() for t in tokens)


_STATUS = re.compile(rb"HTTP/1\.1 ([1-9][0-9][0-9]) ([\t \x21-\x7e\x80-\xff]*)")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([^\x00-\x08\x0a-\x1f\x7f]*)")
_DATE = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")


class Client:
    """One connection. `address` is a (host, port) pair or a unix path."""

    def __init__(self, address: Any) -> None:
        unix = isinstance(address, str)
        self.sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        self.sock.settimeout(DEADLINE)
        self.sock.connect(address)
        if not unix:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unread = b""
        self.reset = False

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> bool:
        """False when the server has closed or reset the connection."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def send_apart(self, pieces: Iterable[bytes]) -> None:
        """Sends each piece once the server has read those before (unix sockets only)."""
        for piece in pieces:
            if not self.send(piece):
                return
            self._wait_until_read()

    def _wait_until_read(self) -> None:
        # A server that is busy with an answer does not read. After a second the client sends the
        # next piece all the same, which may then arrive together with this one.
        end = time.monotonic() + 1
        empty = b"\0\0\0\0"
        while fcntl.ioctl(self.sock, termios.TIOCOUTQ, empty) != empty:
            if time.monotonic() > end:
                return
            time.sleep(0)

    def finish(self) -> None:
        """Sends a FIN."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def _more(self) -> bool:
        try:
            data = self.sock.recv(1 << 16)
        except ConnectionResetError:
            self.reset = True
            return False
        except TimeoutError:
            raise Broken(f"no answer; so far {self.unread[:200]!r}") from None
        self.unread += data
        return bool(data)

    def _line(self) -> bytes:
        while b"\n" not in self.unread:
            if not self._more():
                raise Broken(f"EOF in a line: {self.unread[:200]!r} (reset: {self.reset})")
        line, _, self.unread = self.unread.partition(b"\n")
        if not line.endswith(b"\r") or b"\r" in line[:-1]:
            raise Broken(f"a line does not end in CRLF: {line!r}")
        return line[:-1]

    def _exactly(self, size: int) -> bytes:
        body = self._collect(size)
        if len(body) < size:
            raise Short(body, size)
        self.unread = body[size:]
        return body[:size]

    def _rest(self) -> bytes:
        return self._collect(sys.maxsize)

    def _collect(self, size: int) -> bytes:
        """At least `size` bytes, or all up to the end. Pieces are joined once: bodies are big."""
        pieces, self.unread = [self.unread], b""
        left = size - len(pieces[0])
        while left > 0 and self._more():
            pieces.append(self.unread)
            left -= len(self.unread)
            self.unread = b""
        return b"".join(pieces)

    def _head(self) -> Response:
        line = self._line()
        match = _STATUS.fullmatch(line)
        if match is None:
            raise Broken(f"bad status line {line!r}")
        headers = []
        while line := self._line():
            name_value = _FIELD.fullmatch(line)
            if name_value is None:
                raise Broken(f"bad header line {line!r}")
            headers.append((name_value[1].decode("latin-1"), name_value[2].decode("latin-1")))
        return Response(int(match[1]), match[2].decode("latin-1"), headers)

    def response(self, method: str = "GET") -> Response:
        """The next final response, complete. Broken when RFC 9112 does not allow it."""
        interim: list[int] = []
        while True:
            r = self._head()
            if r.status >= 200 or r.status == 101:
                break
            assert not r.headers, "an interim response needs no headers"
            interim.append(r.status)
        r.interim = interim
        length, coding = r["content-length"], r["transfer-encoding"]
        if _DATE.fullmatch(r["date"] or "") is None:
            raise Broken(f"Date is {r.all('date')}")
        if length is not None and coding is not None:
            raise Broken("Content-Length and Transfer-Encoding in one response")
        if r.status == 204 or r.status < 200:
            if length is not None or coding is not None:
                raise Broken(f"{r.status} with body framing")
        elif method == "HEAD" or r.status == 304:
            pass
        elif coding is not None:
            if coding != "chunked":
                raise Broken(f"Transfer-Encoding: {coding}")
            r.framing = "chunked"
            self._chunks(r)
        elif length is not None:
            if not re.fullmatch("[0-9]+", length):
                raise Broken(f"Content-Length: {length}")
            r.framing = "length"
            r.body = self._exactly(int(length))
        else:
            r.framing = "close"
            r.body = self._rest()
            if self.reset:
                raise Broken("a body that the end of the connection delimits ends in a reset")
        return r

    def _chunks(self, r: Response) -> None:
        while True:
            line = self._line()
            if not re.fullmatch(rb"[0-9a-fA-F]+", line):
                raise Broken(f"bad chunk size {line!r}")
            size = int(line, 16)
            if size == 0:
                break
            r.chunks.append(self._exactly(size))
            r.body += r.chunks[-1]
            if self._exactly(2) != b"\r\n":
                raise Broken("chunk data does not end in CRLF")
        if self._line():
            raise Broken("a trailer that nobody asked for")

    def ended(self, reset: bool = False) -> bool:
        """True at EOF without bytes before it. Broken when there are bytes, or a reset."""
        data = self._rest()
        if data:
            raise Broken(f"bytes after the last response: {data[:200]!r}")
        if self.reset and not reset:
            raise Broken("reset instead of EOF")
        return True

    def ask(self, request: bytes, method: str = "GET") -> Response:
        assert self.send(request), "the server has closed"
        return self.response(method)


class Short(Broken):
    """The connection ended before the announced length."""

    def __init__(self, body: bytes, size: int) -> None:
        super().__init__(f"EOF after {len(body)} of {size} bytes")
        self.body = body


PROBE = b"GET /probe HTTP/1.1\r\nHost: probe\r\n\r\n"


def probe(client: Client) -> bool:
    """True: the connection answers another request. False: it ended cleanly."""
    if not client.unread and client.send(PROBE):
        while not client.unread:
            if not client._more():
                break
    if not client.unread:
        if client.reset and isinstance(client.sock.getsockname(), tuple):
            # A TCP server that has already closed answers the probe with an RST.
            pass
        return False
    r = client.response()
    if (r.status, r.body) != (200, b"probe"):
        raise Broken(f"the probe was answered with {r.status} {r.body[:100]!r}")
    return True


def tcp_info(sock: socket.socket) -> bytes:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)


def data_segments_out(sock: socket.socket) -> int:
    """tcpi_data_segs_out of linux/tcp.h: the number of segments with payload that were sent."""
    return int(struct.unpack_from("=I", tcp_info(sock), 156)[0])


def until_read(client: Client) -> None:
    """Waits until the server has read all that this TCP client has sent."""

    def queued() -> int:
        sent, arrived = bytearray(4), bytearray(4)
        fcntl.ioctl(client.sock, termios.TIOCOUTQ, sent)
        fcntl.ioctl(other, termios.FIONREAD, arrived)
        return struct.unpack("i", sent)[0] + struct.unpack("i", arrived)[0]

    with server_side(client) as other:
        until(lambda: not queued(), "the server to read")


def server_side(client: Client) -> socket.socket:
    """The accepted socket of a TCP client, found among this process's descriptors."""
    us, them = client.sock.getsockname(), client.sock.getpeername()

    def find() -> socket.socket | None:
        for name in os.listdir("/proc/self/fd"):
            try:
                if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                    continue
                found = socket.socket(fileno=os.dup(int(name)))
            except OSError:
                continue
            try:
                if found.getsockname() == them and found.getpeername() == us:
                    return found
            except OSError:
                pass
            found.close()
        return None

    found = until(find, "the accepted socket")
    assert isinstance(found, socket.socket)
    return found

# SPDX-License-Identifier: MIT
"""Clients for test_hostile*.py: good ones that check every byte, bad ones that send nonsense.

All random choices come from a seed in the test's name, so that a failure can be repeated.
"""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from random import Random
from typing import Any

import gevent

from ctwsgi.http.limits import Timeouts
from ctwsgi.source import Source, make_source
from ctwsgi.wire import ctframe, proxy
from tests.running import InThread

from .cases import chunked, get, post
from .wire import DEADLINE, Client, until

SHOP = ("198.18.0.1", 80)
RESET = struct.pack("ii", 1, 0)
SOURCES = ("none", "ctframe", "proxy")


def source(name: str) -> str | Source:
    return "none" if name == "none" else make_source(name)


def framed(name: str, stream: bytes, frame: int = 65535) -> bytes:
    """`stream` with the origin of this source in front, or in frames."""
    if name == "ctframe":
        return ctframe.encode_stream(SHOP, stream, frame)
    if name == "proxy":
        return proxy.encode_v2(("192.0.2.7", 51234), SHOP) + stream
    return stream


def application(environ: dict[str, Any], start_response: Any) -> Any:
    """Answers /KIND/TAG with TAG, in the way that KIND says."""
    _, kind, tag = environ["PATH_INFO"].split("/")
    body = environ["wsgi.input"]
    answer = tag.encode()
    if kind == "raise":
        raise ValueError("as the test wants")
    if kind == "exit":
        raise SystemExit
    if kind == "echo":
        answer += hashlib.sha256(body.read()).hexdigest().encode()
    elif kind == "part":
        body.read(3)
    elif kind == "sleep":
        gevent.sleep(0.01)
    elif kind == "big":
        answer *= 50_000
    start_response("200 OK", [])
    if kind == "generator":
        return _slowly(answer)
    return [answer]


def _slowly(answer: bytes) -> Iterator[bytes]:
    for byte in answer:
        yield bytes([byte])
        gevent.sleep(0)


def request(random: Random, tag: bytes) -> tuple[bytes, bytes]:
    """A valid request, and the body of its answer."""
    kind = random.choice([b"get", b"generator", b"big", b"sleep", b"echo", b"part", b"unread"])
    target = b"/%b/%b" % (kind, tag)
    if kind not in (b"echo", b"part", b"unread"):
        return get(target=target), tag * 50_000 if kind == b"big" else tag
    body = random.randbytes(random.choice([0, 1, 5, 1000, 70_000, 200_000]))
    if random.random() < 0.5:
        whole = post(b"Content-Length: %d" % len(body), body=body, target=target)
    else:
        cuts = sorted({0, len(body), *(random.randrange(len(body) + 1) for _ in range(9))})
        pieces = [body[a:b] for a, b in pairwise(cuts)]
        whole = post(b"Transfer-Encoding: chunked", body=chunked(*pieces), target=target)
    digest = hashlib.sha256(body).hexdigest().encode() if kind == b"echo" else b""
    return whole, tag + digest


class Good(threading.Thread):
    """Sends some requests, cut up and pipelined at random, and reads every byte of the answers."""

    def __init__(self, address: Any, name: str, seed: int) -> None:
        super().__init__(daemon=True)
        self._address, self._source, self._random = address, name, Random(seed)
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._converse()
        except BaseException as e:
            self.error = e

    def _converse(self) -> None:
        random = self._random
        count = random.randrange(1, 6)
        pairs = [request(random, b"%x" % random.getrandbits(32)) for _ in range(count)]
        stream = framed(self._source, b"".join(r for r, _ in pairs), random.choice([100, 65535]))
        with Client(self._address) as client:
            sender = threading.Thread(target=self._send, args=(client, stream), daemon=True)
            sender.start()
            for _, expected in pairs:
                answer = client.response()
                assert (answer.status, answer.body) == (200, expected)
            sender.join(DEADLINE)
            client.finish()
            assert client.ended()

    def _send(self, client: Client, stream: bytes) -> None:
        sizes = [1, 7, 100, 5000] if len(stream) < 3000 else [999, 30_000, 100_000]
        at = 0
        while at < len(stream):
            size = self._random.choice(sizes)
            client.send(stream[at : at + size])
            at += size


NOISE: tuple[Callable[[Random], bytes], ...] = (
    lambda r: request(r, b"x")[0],
    lambda r: get(target=b"/get/x") * 20,
    lambda r: get(target=b"/raise/x"),
    lambda r: get(target=b"/exit/x"),
    lambda r: get(b"Upgrade: x", b"Connection: upgrade", target=b"/get/x"),
    lambda r: post(b"Content-Length: 50", body=b"abc", target=b"/echo/x"),
    lambda r: post(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\nzz", target=b"/echo/x"),
    lambda r: post(b"Expect: 100-continue", b"Content-Length: 5", target=b"/echo/x"),
    lambda r: get(*[b"A: b"] * 200),
    lambda r: b"\x16\x03\x01\x02\x00\x01",
    lambda r: b"GET /\r\n\r\n",
    lambda r: b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    lambda r: b"",
    lambda r: r.randbytes(r.randrange(200)),
)


class Bad:
    """A crowd of connections that send nonsense, or a part of a request, and end in any way."""

    def __init__(self, address: Any, name: str, random: Random) -> None:
        self._address, self._source, self._random = address, name, random
        self._open: list[socket.socket] = []

    def come(self) -> None:
        """Opens one more. It sends what the kernel takes at once, and reads nothing."""
        random = self._random
        data = random.choice(NOISE)(random)
        if random.random() < 0.9:
            data = framed(self._source, data, random.choice([50, 65535]))
        if data and random.random() < 0.3:
            data = data[: random.randrange(len(data))]
        if data and random.random() < 0.2:
            at = random.randrange(len(data))
            data = data[:at] + random.randbytes(1) + data[at + 1 :]
        sock = Client(self._address).sock
        sock.setblocking(False)
        self._open.append(sock)
        with _or_gone():
            sock.send(data)

    def go(self) -> None:
        """Ends one: resets it, closes it, or finishes sending and keeps it."""
        if not self._open:
            return
        sock = self._open.pop(self._random.randrange(len(self._open)))
        how = self._random.choice(["reset", "close", "finish"])
        with _or_gone():
            if how == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            elif how == "finish":
                sock.shutdown(socket.SHUT_WR)
        if how == "finish" and len(self._open) < 30:
            self._open.append(sock)
        else:
            sock.close()

    def all_go(self) -> None:
        for sock in self._open:
            sock.close()
        self._open.clear()


@contextmanager
def _or_gone() -> Iterator[None]:
    try:
        yield
    except OSError:
        pass


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def connections(runner: InThread) -> int:
    return runner.call(lambda: len(runner.server._connections))  # type: ignore[no-any-return]


def settled(runner: InThread) -> None:
    until(lambda: connections(runner) == 0, "the last connection to end")


NEVER = Timeouts(origin=0, request=0, body=0, keepalive=0)
HUGE = 20_000_000
"""Bytes; more than the buffers of both sockets hold."""


def only(**timeouts: float) -> Timeouts:
    return Timeouts(**{"origin": 0, "request": 0, "body": 0, "keepalive": 0, **timeouts})


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"hello"]


def huge(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"x" * HUGE]


def sluggish(runner: InThread) -> Client:
    """A client with a small receive buffer, which fills until the client reads."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 131072)
    sock.settimeout(DEADLINE)
    sock.connect(runner.server.address)
    client = Client.__new__(Client)
    client.sock, client.unread, client.reset = sock, b"", False
    return client


def discard(client: Client) -> None:
    """Reads in the background to the end of the connection."""

    def read() -> None:
        with _or_gone():
            while client.sock.recv(1 << 20):
                pass

    threading.Thread(target=read, daemon=True).start()


def drain(runner: InThread, timeout: float = DEADLINE) -> list[bool]:
    """Begins to drain. The outcome is appended to the returned list."""
    outcome: list[bool] = []
    runner.call(lambda: gevent.spawn(lambda: outcome.append(runner.server.drain(timeout))) and None)
    until(lambda: runner.server.draining, "the drain to begin")
    return outcome


def ended_in_time(outcome: list[bool]) -> None:
    assert until(lambda: outcome, "the drain to end") == [True]

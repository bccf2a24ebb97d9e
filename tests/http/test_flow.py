# SPDX-License-Identifier: MIT
"""Clauses 6 and 7, order of events: 100 Continue, unread bodies, streaming."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import gevent.event
import pytest

from .apps import APPS
from .cases import Recorder, chunked, get, lines, post
from .wire import Client, Running

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with Running(Recorder()) as running:
        yield running


def silent(client: Client) -> bool:
    """Whether there is nothing to read. It waits shortly, for bytes that are on their way."""
    return not client.unread and not select.select([client.sock], [], [], 0.05)[0]


def interim(client: Client) -> None:
    while len(client.unread) < len(CONTINUE):
        assert client._more(), f"no 100 Continue, but {client.unread!r} and the end"
    assert client.unread == CONTINUE
    client.unread = b""


# --- clause 7: Expect ------------------------------------------------------------------------


@pytest.mark.parametrize("value", [b"100-continue", b"100-Continue", b"100-CONTINUE"])
def test_continue_on_first_read(server: Running, value: bytes) -> None:
    with Client(server.tcp) as client:
        client.send(post(b"Expect: " + value, b"Content-Length: 5"))
        interim(client)
        client.send(b"hello")
        r = client.response()
        assert (r.status, r.body, r.interim) == (200, b"hello", [])
        assert client.ask(get()).status == 200


def test_continue_for_chunks(server: Running) -> None:
    with Client(server.tcp) as client:
        client.send(post(b"Expect: 100-continue", b"Transfer-Encoding: chunked"))
        interim(client)
        client.send(chunked(b"hel", b"lo"))
        assert client.response().body == b"hello"
        assert client.ask(get()).status == 200


def test_continue_once(server: Running) -> None:
    with Client(server.tcp) as client:
        target = b"/app/read-1"
        client.send(post(b"Expect: 100-continue", b"Content-Length: 3", target=target))
        interim(client)
        for byte in (b"a", b"b", b"c"):
            client.send(byte)
        r = client.response()
        assert (r.body, r.interim) == (b"a|b|c", [])


def test_no_continue_without_a_read(server: Running) -> None:
    with Client(server.tcp) as client:
        r = client.ask(post(b"Expect: 100-continue", b"Content-Length: 5", target=b"/app/ignore"))
        assert (r.status, r.body, r.interim) == (200, b"ignored", [])
        # The server cannot know whether the client will send the body, so it must close.
        assert r.says_close
        assert client.ended()


def test_no_continue_in_1_0(server: Running) -> None:
    with Client(server.tcp) as client:
        client.send(lines(b"POST / HTTP/1.0", b"Expect: 100-continue", b"Content-Length: 5"))
        assert silent(client)
        client.send(b"hello")
        r = client.response()
        assert (r.body, r.interim) == (b"hello", [])


def test_no_continue_for_a_refused_head(server: Running) -> None:
    with Client(server.tcp) as client:
        client.send(post(b"Expect: 100-continue", b"Content-Length: 5", b"Host: second"))
        r = client.response()
        assert (r.status, r.interim) == (400, [])


def test_no_continue_for_upgrade_before_a_read(server: Running) -> None:
    """`curl --http2 -d @big` sends both."""
    with Client(server.tcp) as client:
        upgrade = (b"Connection: Upgrade", b"Upgrade: h2c")
        client.send(post(*upgrade, b"Expect: 100-continue", b"Content-Length: 5"))
        interim(client)
        client.send(b"hello" + get(target=b"/2"))
        assert client.response().body == b"hello"
        assert client.response().status == 200


# --- clause 7: laziness and unread bodies ----------------------------------------------------


def test_the_application_runs_before_the_body_is_there(server: Running) -> None:
    with Client(server.tcp) as client:
        client.send(post(b"Content-Length: 5", target=b"/app/ignore"))
        assert client.response().body == b"ignored"
        client.send(b"hello" + get())  # the server skips a body that comes after the answer
        assert client.response().status == 200


def test_a_small_unread_body_is_drained(server: Running) -> None:
    body = b"x" * 900_000
    with Client(server.tcp) as client:
        head = post(b"Content-Length: %d" % len(body), target=b"/app/ignore")
        assert client.ask(head + body).body == b"ignored"
        assert client.ask(get()).status == 200
        head = post(b"Transfer-Encoding: chunked", target=b"/app/ignore")
        assert client.ask(head + chunked(body[:500_000], body[500_000:])).body == b"ignored"
        assert client.ask(get()).status == 200


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_big_unread_body_ends_the_connection_but_not_the_answer(
    server: Running, framing: str
) -> None:
    """The client reads the answer although it sends on: no RST comes before it."""
    size = 6 << 20
    body = b"x" * size if framing == "length" else chunked(b"x" * size)
    header = b"Content-Length: %d" % size if framing == "length" else b"Transfer-Encoding: chunked"
    with Client(server.tcp) as client:
        client.send(post(header, target=b"/app/ignore") + body)  # all of it before reading
        assert client.response().body == b"ignored"
        assert client.ended()


def test_an_error_reply_survives_a_client_that_sends_on(server: Running) -> None:
    with Client(server.tcp) as client:
        client.send(post(b"Content-Length: +5"))
        for _ in range(200):
            if not client.send(b"x" * 4096):
                break
        assert client.response().status == 400
        assert client.ended()


def test_a_500_survives_a_client_that_sends_on(server: Running) -> None:
    with Client(server.tcp) as client:
        client.send(post(b"Content-Length: 4000000", target=b"/app/raises"))
        client.send(b"x" * 4_000_000)
        assert client.response().status == 500


def test_a_client_that_finishes_early_is_answered(server: Running) -> None:
    """shutdown(SHUT_WR) after a whole request is no disconnect (RFC 9112, 9.6)."""
    with Client(server.tcp) as client:
        client.send(get() + get(target=b"/app/generator"))
        client.finish()
        assert client.response().status == 200
        assert client.response().body == b"hello"
        assert not client._more()


def test_a_late_read_cannot_reach_the_next_request(server: Running) -> None:
    kept: list[Any] = []

    def keep(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        kept.append(environ["wsgi.input"])
        start_response("200 OK", [("Content-Length", "0")])
        return []

    def steal(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            stolen = kept[0].read()
        except Exception:
            stolen = b""
        start_response("200 OK", [])
        return [stolen + b"|" + environ["wsgi.input"].read()]

    APPS.update(keep=keep, steal=steal)
    with Client(server.tcp) as client:
        client.send(post(b"Content-Length: 5", body=b"first", target=b"/app/keep"))
        assert client.response().status == 200
        client.send(post(b"Content-Length: 6", body=b"second", target=b"/app/steal"))
        assert client.response().body == b"|second"


# --- clause 6: streaming ---------------------------------------------------------------------


class Gate:
    """A gevent event that a test sets from its own thread."""

    def __init__(self, server: Running) -> None:
        self._server = server
        made = threading.Event()
        server.call(lambda: (setattr(self, "event", gevent.event.Event()), made.set()))
        assert made.wait(20)

    def open(self) -> None:
        self._server.call(self.event.set)  # type: ignore[attr-defined]

    def wait(self) -> None:
        assert self.event.wait(20)  # type: ignore[attr-defined]


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("how", ["yield", "write"])
def test_each_piece_leaves_at_once(server: Running, version: str, how: str) -> None:
    gate = Gate(server)

    def stream(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        write = start_response("200 OK", [])
        if how == "write":
            write(b"first")
        else:
            yield b"first"
        gate.wait()
        yield b"second"

    def eager(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return stream(environ, start_response)

    APPS["stream"] = eager
    with Client(server.tcp) as client:
        request = get(target=b"/app/stream")
        client.send(request.replace(b"HTTP/1.1", b"HTTP/" + version.encode()))
        while b"first" not in client.unread:
            assert client._more(), "the first piece did not come before the second"
        assert b"second" not in client.unread
        gate.open()
        assert client.response().body == b"firstsecond"


def test_several_connections_at_once(server: Running) -> None:
    gate = Gate(server)

    def wait(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        gate.wait()
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    APPS["wait"] = wait
    with Client(server.tcp) as slow, Client(server.tcp) as quick:
        slow.send(get(target=b"/app/wait"))
        assert quick.ask(get()).status == 200
        assert silent(slow)
        gate.open()
        assert slow.response().body == b"ok"


def test_a_pipelined_request_waits_for_the_one_before(server: Running) -> None:
    gate = Gate(server)
    order: list[str] = []

    def first(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        gate.wait()
        order.append("first")
        start_response("200 OK", [])
        return [b"1"]

    def second(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        order.append("second")
        start_response("200 OK", [])
        return [b"2"]

    APPS.update(first=first, second=second)
    with Client(server.tcp) as client:
        client.send(get(target=b"/app/first") + get(target=b"/app/second"))
        assert silent(client)
        assert order == []
        gate.open()
        assert client.response().body == b"1"
        assert client.response().body == b"2"
    assert order == ["first", "second"]


BIG = b"0123456789abcdef" * (5 << 16)


@pytest.mark.parametrize("framing", ["list", "two", "chunked", "write", "generator"])
def test_a_big_response_to_a_slow_reader(server: Running, framing: str) -> None:
    """A response larger than the socket buffers: the send waits, and continues correctly."""

    def big(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        length = [("Content-Length", str(len(BIG)))] if framing == "generator" else []
        write = start_response("200 OK", length)
        if framing == "write":
            write(BIG)
            return []
        if framing == "list":
            return [BIG]
        half = len(BIG) // 2
        parts = [BIG[:half], BIG[half:]]
        return parts if framing == "two" else iter(parts)

    APPS["big"] = big
    with Client(server.tcp) as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        assert client.ask(get(target=b"/app/big")).body == BIG
        assert client.ask(get()).status == 200

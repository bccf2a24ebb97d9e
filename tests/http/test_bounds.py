# SPDX-License-Identifier: MIT
"""Clauses 3, 4 and 9: endless requests are refused while they arrive; how responses are sent.

A test sends an endless request until the server refuses it.
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator

import pytest

from ctwsgi.http.limits import Limits

from .cases import Recorder, chunked, get, lines, post
from .wire import Client, Running, data_segments_out, server_side

ENOUGH = 300_000
"""Bytes of an endless request. A server that accepts more has failed."""


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def server(recorder: Recorder) -> Iterator[Running]:
    with Running(recorder) as running:
        recorder.calls.clear()
        yield running


ENDLESS = {
    "target": (b"GET /", b"a" * 1000, (414,)),
    "query": (b"GET /?", b"a" * 1000, (414,)),
    "absolute target": (b"GET http://", b"a" * 1000, (400, 414)),
    "method": (b"", b"G" * 1000, (400, 501)),
    "version": (b"GET / HTTP/1.", b"1" * 1000, (400, 505)),
    "header value": (get()[:-2] + b"A: ", b"b" * 1000, (431,)),
    "header name": (get()[:-2], b"A" * 1000, (431,)),
    "white space before a value": (get()[:-2] + b"A:", b" " * 1000, (431,)),
    "white space in a value": (get()[:-2] + b"A: b", b" " * 1000, (431,)),
    "headers": (get()[:-2], b"A: b\r\n" * 100, (431,)),
    "long headers": (get()[:-2], (b"A: " + b"b" * 1000 + b"\r\n"), (431,)),
    "headers without value": (get()[:-2], b"A:\r\n" * 100, (431,)),
    "empty lines": (b"", b"\r\n" * 500, (400,)),
    "empty lines after a request": (get(), b"\r\n" * 500, (400,)),
    "LFs": (b"", b"\n" * 1000, (400,)),
    "CRs": (b"", b"\r" * 1000, (400,)),
    "NULs": (b"", b"\0" * 1000, (400, 501)),
    "chunk extension": (post(b"Transfer-Encoding: chunked", body=b"5;"), b"a" * 1000, (400, 413)),
    "quoted extension": (
        post(b"Transfer-Encoding: chunked", body=b'5;a="'),
        b"a" * 1000,
        (400, 413),
    ),
    "extensions": (
        post(b"Transfer-Encoding: chunked"),
        (b"1;" + b"a" * 200 + b"\r\nx\r\n") * 4,
        (400, 413),
    ),
    "short extensions": (
        post(b"Transfer-Encoding: chunked"),
        b"1;aaaaaaaaaaaaaaaaaaaaaaaa=bbbbbbbbbbbbbbbb\r\nx\r\n" * 20,
        (400, 413),
    ),
    "zeros of a chunk size": (
        post(b"Transfer-Encoding: chunked"),
        b"0" * 1000,
        (400, 413),
    ),
    "trailer": (
        post(b"Transfer-Encoding: chunked", body=b"0\r\nA: "),
        b"b" * 1000,
        (400, 413, 431),
    ),
    "trailers": (
        post(b"Transfer-Encoding: chunked", body=b"0\r\n"),
        b"A: b\r\n" * 100,
        (400, 413, 431),
    ),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_endless(server: Running, name: str) -> None:
    begin, more, status = ENDLESS[name]
    with Client(server.unix) as client:  # whose kernel buffers less than TCP's
        if name.endswith("after a request"):
            assert client.ask(begin).status == 200
            begin = b""
        client.send_apart([begin] if begin else [])
        sent = 0
        while not select.select([client.sock], [], [], 0)[0]:
            client.send_apart([more])
            sent += len(more)
            assert sent < ENOUGH, f"still not refused after {sent} bytes"
        assert client.response().status in status
        assert client.ended()


def test_a_target_at_the_default_limit(server: Running) -> None:
    for size, status in ((8190, 200), (8191, 414)):
        with Client(server.tcp) as client:
            assert client.ask(get(target=b"/" + b"a" * (size - 1))).status == status


def test_headers_at_the_default_limit(server: Running) -> None:
    for count, status in ((99, 200), (100, 431)):  # plus Host
        with Client(server.tcp) as client:
            headers = [b"X-%d: y" % i for i in range(count)]
            assert client.ask(get(*headers)).status == status


def test_a_long_header_below_the_default_limit(server: Running, recorder: Recorder) -> None:
    recorder.calls.clear()
    with Client(server.tcp) as client:
        assert client.ask(get(b"X: " + b"y" * 60000)).status == 200
        assert recorder.calls[-1]["environ"]["HTTP_X"] == "y" * 60000
        assert client.ask(get(b"X: " + b"y" * 66000)).status == 431
        assert client.ended()


def test_the_limit_of_one_header_line(recorder: Recorder) -> None:
    with Running(recorder, limits=Limits(header_field=20)) as server:
        for size, status in ((15, 200), (16, 431)):  # beside name, colon, space and line end
            with Client(server.tcp) as client:
                assert client.ask(get(b"X: " + b"y" * size, b"Z: z")).status == status


def test_a_body_of_many_small_chunks_is_no_overhead(server: Running, recorder: Recorder) -> None:
    body = chunked(*[b"x"] * 50000)
    recorder.calls.clear()
    with Client(server.tcp) as client:
        assert client.ask(post(b"Transfer-Encoding: chunked", body=body)).body == b"x" * 50000
        assert client.ask(get()).status == 200


def test_a_thousand_pipelined_requests(server: Running, recorder: Recorder) -> None:
    recorder.calls.clear()
    with Client(server.tcp) as client:
        client.send(b"".join(get(target=b"/%d" % i) for i in range(1000)))
        for _ in range(1000):
            assert client.response().status == 200
    assert [c["environ"]["PATH_INFO"] for c in recorder.calls] == [f"/{i}" for i in range(1000)]


def test_pipelined_bodies_larger_than_a_receive(server: Running) -> None:
    bodies = [bytes([i]) * (100_000 + i) for i in range(8)]
    requests = [
        post(b"Content-Length: %d" % len(b), body=b)
        if i % 2
        else post(b"Transfer-Encoding: chunked", body=chunked(b[:70000], b[70000:]))
        for i, b in enumerate(bodies)
    ]
    with Client(server.tcp) as client:
        # Reads while it sends, because otherwise both sides might block on full buffers.
        sender = threading.Thread(target=client.send, args=(b"".join(requests),))
        sender.start()
        for body in bodies:
            assert client.response().body == body
        sender.join()


# --- clause 4 --------------------------------------------------------------------------------


def test_nodelay_is_set(server: Running) -> None:
    with Client(server.tcp) as client:
        assert client.ask(get()).status == 200
        with server_side(client) as other:
            assert other.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


@pytest.mark.parametrize("app", ["list", "list-with-length", "generator-with-length", "404"])
def test_head_and_body_leave_in_one_segment(server: Running, app: str) -> None:
    target = b"/app/" + app.encode()
    with Client(server.tcp) as client:
        client.ask(get())
        with server_side(client) as other:
            before = data_segments_out(other)
            client.ask(get(target=target))
            extra = 1 if app.startswith("generator") else 0  # the second piece
            assert data_segments_out(other) - before == 1 + extra


def test_an_error_reply_is_one_segment(server: Running) -> None:
    with Client(server.tcp) as client:
        client.ask(get())
        with server_side(client) as other:
            before = data_segments_out(other)
            assert client.ask(b"\0\r\n\r\n").status == 400
            assert data_segments_out(other) - before == 1


def test_version_of_the_reply_to_1_0(server: Running) -> None:
    """RFC 9110, 2.5: the server answers with its own version, which the reader checks."""
    with Client(server.tcp) as client:
        assert client.ask(lines(b"GET / HTTP/1.0")).says_close

# SPDX-License-Identifier: MIT
"""Clause 6, errors: close(), disconnects, responses that break off."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from .apps import APPS, CLOSED
from .cases import Recorder, get, lines, post
from .wire import Broken, Client, Running, Short, until


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with Running(Recorder()) as running:
        yield running


@pytest.mark.parametrize(
    ("app", "method"),
    [
        ("closes", b"GET"),
        ("closes", b"HEAD"),
        ("closes-raising", b"GET"),
        ("closes-never-started", b"GET"),
        ("closes-204", b"GET"),
    ],
)
def test_close_is_called_once(server: Running, app: str, method: bytes) -> None:
    CLOSED.clear()
    with Client(server.tcp) as client:
        client.send(get(target=b"/app/" + app.encode(), method=method))
        try:
            client.response(method.decode())
        except Broken:
            assert app == "closes-raising"
        until(lambda: CLOSED, "close()")
    assert [app] == CLOSED


def test_close_is_called_when_the_client_leaves(server: Running) -> None:
    closed = threading.Event()
    pieces = []

    class Endless:
        def __iter__(self) -> Iterator[bytes]:
            while True:
                pieces.append(1)
                yield b"x" * 65536

        def close(self) -> None:
            closed.set()

    def endless(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Endless()

    APPS["endless"] = endless
    with Client(server.tcp) as client:
        client.send(get(target=b"/app/endless"))
        assert client._more()
    assert closed.wait(20), "close() was not called"
    with Client(server.tcp) as client:  # the server still answers
        assert client.ask(get()).status == 200


def test_a_reset_in_mid_body_is_an_oserror(server: Running) -> None:
    seen: list[BaseException] = []

    def read(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            environ["wsgi.input"].read()
        except BaseException as e:
            seen.append(e)
            raise
        return []

    APPS["read-reset"] = read
    with Client(server.tcp) as client:
        client.send(post(b"Content-Length: 9", body=b"hello", target=b"/app/read-reset"))
        linger = socket.SO_LINGER
        client.sock.setsockopt(socket.SOL_SOCKET, linger, b"\1\0\0\0\0\0\0\0")
    until(lambda: seen, "the read to fail")
    assert isinstance(seen[0], OSError)


def test_a_close_that_raises_does_not_spoil_the_answer(server: Running) -> None:
    class Bad:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"hello"])

        def close(self) -> None:
            raise ValueError("the application fails, as the test wants")

    def bad(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "5")])
        return Bad()

    APPS["bad-close"] = bad
    with Client(server.tcp) as client:
        assert client.ask(get(target=b"/app/bad-close")).body == b"hello"
    with Client(server.tcp) as client:
        assert client.ask(get()).status == 200


def test_a_broken_1_0_body_ends_in_a_reset(server: Running) -> None:
    """Only a reset tells a client that the body, delimited by EOF, is incomplete."""
    with Client(server.tcp) as client:
        client.send(lines(b"GET /app/raises-after-data HTTP/1.0"))
        with pytest.raises(Broken):
            client.response()
        assert client.reset


def test_an_exiting_application_does_not_end_the_server(server: Running) -> None:
    def leave(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise SystemExit(3)

    APPS["exit"] = leave
    with Client(server.tcp) as client:
        assert client.ask(get(target=b"/app/exit")).status == 500
    with Client(server.tcp) as client:
        assert client.ask(get()).status == 200


def test_a_short_response_is_short(server: Running) -> None:
    with Client(server.tcp) as client:
        client.send(get(target=b"/app/too-short"))
        with pytest.raises(Short) as caught:
            client.response()
        assert caught.value.body == b"hello"

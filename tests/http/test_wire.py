# SPDX-License-Identifier: MIT
"""Tests of wire.py and cases.py: pieces arrive apart, and the reader refuses wrong responses.

They show that a row of the conformance table can fail.
"""

from __future__ import annotations

from typing import Any

import pytest
from gevent.server import StreamServer

from .cases import Answer, Case, Recorder, check
from .wire import Client, Running, until

GOOD = b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"


def test_pieces_arrive_in_receives_of_their_own() -> None:
    sizes: list[int] = []

    def handle(sock: Any, address: Any) -> None:
        while data := sock.recv(65536):
            sizes.append(len(data))
        sock.sendall(b"done")
        sock.close()

    def factory(listener: Any, app: Any) -> StreamServer:
        return StreamServer(listener, handle)

    with Running(handle, factory) as server, Client(server.unix) as client:
        client.send_apart([b"x" * n for n in range(1, 50)])
        client.finish()
        until(lambda: client._more() or True, "the end")
    assert sizes == list(range(1, 50))


def play(reply: bytes, **expected: Any) -> None:
    """Checks one row against a server that always sends `reply` and closes."""

    def handle(sock: Any, address: Any) -> None:
        sock.recv(65536)
        sock.sendall(reply)
        sock.close()

    def factory(listener: Any, app: Any) -> StreamServer:
        return StreamServer(listener, handle)

    answer = Answer((200,), called=False)
    case = Case("0", "self-test", b"GET", (answer,), **{"stays": False, **expected})
    with Running(handle, factory) as server:
        check(case, Recorder(), server.unix, None)


def test_a_good_reply_passes() -> None:
    play(GOOD + b"Connection: close\r\nContent-Length: 2\r\n\r\nok")


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n" + GOOD[17:] + b"Content-Length: 0\r\n\r\n",
        GOOD + b"Content-Length: 3\r\n\r\nok",
        GOOD + b"Content-Length: 1\r\n\r\nok",
        GOOD + b"Content-Length: 0\r\n\r\n",  # closes without having announced it
        GOOD + b"Connection: close\r\nContent-Length: 0\r\n\r\n" + GOOD,
        GOOD + b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
        GOOD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        GOOD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n",
        GOOD + b"Connection: close\nContent-Length: 0\r\n\r\n",
        GOOD + b"Bad Name: x\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_a_bad_reply_fails(reply: bytes) -> None:
    with pytest.raises(AssertionError):
        play(reply)


def test_a_wrong_status_fails() -> None:
    with pytest.raises(AssertionError, match="404"):
        play(GOOD.replace(b"200 OK", b"404 No") + b"Connection: close\r\nContent-Length: 0\r\n\r\n")


ONE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("message", "request_", "path"),
    [
        ("probe", ONE * 2, "/2/"),  # one response too many
        ("saw", ONE, "/2"),
        ("closed", ONE.replace(b"1.1", b"1.0"), "/"),
    ],
)
def test_a_wrong_row_fails(message: str, request_: bytes, path: str) -> None:
    recorder = Recorder()
    row = Case("0", "wrong", request_, (Answer((200,), path=path),), True)
    with Running(recorder) as server, pytest.raises(AssertionError, match=message):
        check(row, recorder, server.tcp, None)

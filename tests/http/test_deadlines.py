# SPDX-License-Identifier: MIT
"""Clause 9: deadlines, the connection cap, and draining.

The timeouts are small. No test measures a time; each checks how the connection ended.
"""

from __future__ import annotations

import select
from collections.abc import Iterable
from typing import Any

import gevent
import gevent.event
import pytest

from ctwsgi.http.limits import Limits, Timeouts

from .apps import APPS
from .cases import Recorder, get, post
from .test_flow import Gate
from .wire import Client, Running, until, until_read

GRACE = 0.8
"""Seconds, longer than a drain leaves an idle connection open."""

NEVER = Timeouts(origin=0, request=0, body=0, keepalive=0)


def running(app: Any = None, **options: Any) -> Running:
    return Running(app or Recorder(), **options)


def only(**timeouts: float) -> Timeouts:
    """These timeouts only, so that no other one can end the connection."""
    return Timeouts(**{"origin": 0, "request": 0, "body": 0, "keepalive": 0, **timeouts})


def dribble(client: Client, data: bytes) -> None:
    """Sends one byte at a time until the server answers or closes."""
    for byte in data:
        if select.select([client.sock], [], [], 0.02)[0] or not client.send(bytes([byte])):
            return
    raise AssertionError("the server took it all")


@pytest.mark.parametrize("sent", [b"G", b"GET / HTTP/1.1\r\n", get()[:-1]])
def test_a_head_that_stops(sent: bytes) -> None:
    with running(timeouts=only(request=0.3)) as server, Client(server.tcp) as client:
        client.send(sent)
        assert client.response().status == 408
        assert client.ended()
        assert server.counter("timeout:request") == 1


def test_a_head_that_dribbles() -> None:
    with running(timeouts=only(request=0.3)) as server, Client(server.tcp) as client:
        dribble(client, get(b"A: " + b"b" * 5000))
        assert client.response().status == 408
        assert client.ended()


def test_a_later_head_that_stops() -> None:
    with running(timeouts=only(request=0.3)) as server, Client(server.tcp) as client:
        assert client.ask(get()).status == 200
        client.send(b"GET /2 HT")
        assert client.response().status == 408
        assert client.ended()


def test_a_pipelined_head_that_stops() -> None:
    """Its first bytes came with the first request, so it has begun and is not idle."""
    with running(timeouts=only(request=0.3)) as server, Client(server.tcp) as client:
        client.send(get() + b"GET /2 HT")
        assert client.response().status == 200
        assert client.response().status == 408
        assert client.ended()


def test_nothing_at_all_is_no_request_to_answer() -> None:
    with running(timeouts=only(request=0.3)) as server, Client(server.tcp) as client:
        assert client.ended()


def test_idle() -> None:
    with running(timeouts=only(keepalive=0.3)) as server, Client(server.tcp) as client:
        assert client.ask(get()).status == 200
        assert client.ended()
        assert server.counter("timeout:keepalive") == 1


def test_idle_with_line_ends() -> None:
    """Empty lines do not begin a request, and do not extend the deadline."""
    with running(timeouts=only(keepalive=0.3)) as server, Client(server.tcp) as client:
        assert client.ask(get()).status == 200
        dribble(client, b"\r\n" * 400)
        assert client.ended(reset=True)


@pytest.mark.parametrize(
    "request_",
    [
        post(b"Content-Length: 9", body=b"hello"),
        post(b"Transfer-Encoding: chunked", body=b"9\r\nhello"),
        post(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n"),
        post(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n"),
    ],
)
def test_a_body_that_stops(request_: bytes) -> None:
    recorder = Recorder()
    with running(recorder, timeouts=only(body=0.3)) as server, Client(server.tcp) as client:
        client.send(request_)
        assert client.response().status == 408
        assert client.ended()
        assert recorder.calls[0]["body"] is None, "the application must get an OSError"
        assert server.counter("timeout:body") == 1


def test_a_body_that_dribbles() -> None:
    recorder = Recorder()
    timeouts, limits = only(body=0.3), Limits(body_rate=1_000_000)
    with (
        running(recorder, timeouts=timeouts, limits=limits) as server,
        Client(server.tcp) as client,
    ):
        client.send(post(b"Content-Length: 5000"))
        dribble(client, b"x" * 5000)
        assert client.response().status == 408
        assert recorder.calls[0]["body"] is None


def test_a_body_with_pauses_is_read() -> None:
    """Progress extends the deadline: an upload may take longer than it."""
    with running(timeouts=only(body=1.5)) as server, Client(server.tcp) as client:
        client.send(post(b"Content-Length: 25000"))
        for _ in range(25):
            select.select([client.sock], [], [], 0.08)
            client.send(b"x" * 1000)
        assert client.response().body == b"x" * 25000


def test_an_unread_body_that_stops() -> None:
    """The answer is sent. The server waits for the rest of the body, and gives up."""
    with running(timeouts=only(body=0.3)) as server, Client(server.tcp) as client:
        client.send(post(b"Content-Length: 9", body=b"hello", target=b"/app/ignore"))
        assert client.response().body == b"ignored"
        assert client.ended()


def test_a_client_that_does_not_read() -> None:
    """The body deadline also ends a response whose reader has stopped."""
    closed: list[int] = []

    class Endless:
        def __iter__(self) -> Any:
            while True:
                yield b"x" * 65536

        def close(self) -> None:
            closed.append(1)

    def endless(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Endless()

    with running(endless, timeouts=only(body=0.3)) as server, Client(server.tcp) as client:
        client.send(get())
        until(lambda: closed, "the response to be given up")


def test_a_slow_application_has_no_deadline() -> None:
    tight = Timeouts(origin=0.2, request=0.2, body=0.2, keepalive=0.2)
    with running(timeouts=tight) as server, Client(server.tcp) as client:

        def slow(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            gevent.sleep(1)
            start_response("200 OK", [])
            return [b"slow"]

        APPS["slow"] = slow
        assert client.ask(get(target=b"/app/slow")).body == b"slow"


def test_a_slow_application_then_the_body() -> None:
    """The body deadline begins when the application reads."""

    def slow(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        gevent.sleep(1)
        body = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [body]

    with running(slow, timeouts=only(body=0.5)) as server, Client(server.tcp) as client:
        client.send(post(b"Content-Length: 5", body=b"hello"))
        assert client.response().body == b"hello"


def test_zero_is_no_deadline() -> None:
    with running(timeouts=NEVER) as server, Client(server.tcp) as client:
        client.send(get()[:-1])
        assert not select.select([client.sock], [], [], 1.2)[0]  # the reaper runs once a second
        client.send(b"\n")
        assert client.response().status == 200


# --- the cap ---------------------------------------------------------------------------------


def test_the_cap_makes_clients_wait_and_serves_them_all() -> None:
    recorder = Recorder()
    with running(recorder, max_connections=2) as server:
        gate = Gate(server)

        def wait(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            gate.wait()
            start_response("200 OK", [("Connection", "close")])
            return [b"ok"]

        APPS["wait"] = wait
        clients = [Client(server.tcp) for _ in range(6)]
        for client in clients:
            client.send(get(target=b"/app/wait"))
        until(lambda: len(recorder.calls) == 2, "two calls")
        assert not select.select([c.sock for c in clients], [], [], 0.2)[0]
        assert len(recorder.calls) == 2, "the cap was passed"
        assert server.counter("accepted") == 2
        gate.open()
        for client in clients:
            assert client.response().body == b"ok"
            client.sock.close()
        assert server.counter("accepted") == 6


def test_an_idle_connection_at_the_cap_makes_room_in_time() -> None:
    with (
        running(timeouts=only(keepalive=0.3), max_connections=1) as server,
        Client(server.tcp) as first,
        Client(server.tcp) as second,
    ):
        assert first.ask(get()).status == 200
        assert second.ask(get()).status == 200


# --- stopping --------------------------------------------------------------------------------


def drained(server: Running, timeout: float = 20) -> list[bool]:
    """Begins to drain the TCP server. The outcome is appended to the returned list."""
    outcome: list[bool] = []

    def drain() -> None:
        gevent.spawn(lambda: outcome.append(server.servers[0].drain(timeout)))

    server.call(drain)
    until(lambda: server.servers[0].draining, "the drain to begin")
    return outcome


def test_drain_closes_idle_connections() -> None:
    with running(timeouts=NEVER) as server, Client(server.tcp) as idle, Client(server.tcp) as new:
        assert idle.ask(get()).status == 200
        outcome = drained(server)
        assert idle.ended()
        assert new.ended()
        assert until(lambda: outcome, "the drain to end") == [True]


@pytest.mark.parametrize("begun", [b"G", get()[:-1]])
def test_drain_answers_a_request_that_has_begun(begun: bytes) -> None:
    with running(timeouts=NEVER) as server, Client(server.tcp) as client:
        client.send(begun)
        until_read(client)
        outcome = drained(server)
        assert not select.select([client.sock], [], [], GRACE)[0], "closed in mid-request"
        client.send(get()[len(begun) :])
        r = client.response()
        assert r.status == 200
        assert r.says_close
        assert client.ended()
        assert until(lambda: outcome, "the drain to end") == [True]


def test_drain_answers_a_pipelined_request_that_has_begun() -> None:
    with running(timeouts=NEVER) as server, Client(server.tcp) as client:
        client.send(get() + get(target=b"/2")[:9])
        assert client.response().status == 200
        until_read(client)
        drained(server)
        assert not select.select([client.sock], [], [], GRACE)[0], "closed in mid-request"
        client.send(get(target=b"/2")[9:])
        assert client.response().status == 200
        assert client.ended()


def test_drain_waits_for_the_application() -> None:
    with running(timeouts=NEVER) as server, Client(server.tcp) as client:
        gate = Gate(server)

        def wait(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            gate.wait()
            start_response("200 OK", [])
            return [b"ok"]

        APPS["wait"] = wait
        client.send(get(target=b"/app/wait") + get(target=b"/2"))
        until(lambda: server.counter("accepted"), "the connection")
        outcome = drained(server)
        gate.open()
        for last in (False, True):  # the second request had arrived as well
            r = client.response()
            assert (r.status, r.says_close) == (200, last)
        assert until(lambda: outcome, "the drain to end") == [True]


def test_drain_gives_up_in_time() -> None:
    with running(timeouts=NEVER) as server, Client(server.tcp) as client:
        client.send(get()[:-1])
        until_read(client)
        outcome = drained(server, 0.5)
        assert until(lambda: outcome, "the drain to end") == [False]

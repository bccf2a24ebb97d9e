# SPDX-License-Identifier: MIT
"""One connection's effects on other connections, on a stop, and on its next response."""

from __future__ import annotations

import logging
import select
import ssl
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.event
import pytest

from ctwsgi.server import WSGIServer
from tests.running import running

from .cases import get, lines, post
from .hostile import HUGE, NEVER, drain, ended_in_time, hello, huge, only, settled, sluggish
from .wire import DEADLINE, Client, until, until_read


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("tls")
    files = {"keyfile": str(folder / "key.pem"), "certfile": str(folder / "cert.pem")}
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=localhost",
    ]
    command += ["-keyout", files["keyfile"], "-out", files["certfile"]]
    subprocess.run(command, check=True, capture_output=True)
    return files


def over_tls(client: Client, **options: Any) -> Client:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client.sock = context.wrap_socket(client.sock, **options)
    return client


# --- stopping --------------------------------------------------------------------------------


def test_drain_waits_for_a_response_that_is_being_sent() -> None:
    with running(huge, timeouts=NEVER) as runner, sluggish(runner) as client:
        client.send(get())
        select.select([client.sock], [], [])
        select.select([], [], [], 0.7)  # a drain leaves an idle connection open for 0.5 s
        outcome = drain(runner)
        select.select([], [], [], 0.3)
        assert client.response().body == b"x" * HUGE
        client.finish()
        ended_in_time(outcome)


def test_drain_waits_for_an_upload() -> None:
    def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [body]

    with running(echo, timeouts=NEVER) as runner, Client(runner.server.address) as client:
        client.send(post(b"Content-Length: 5", body=b"he"))
        until_read(client)
        select.select([], [], [], 0.7)
        outcome = drain(runner)
        select.select([], [], [], 0.3)
        client.send(b"llo")
        assert client.response().body == b"hello"
        client.finish()
        ended_in_time(outcome)


def test_two_drains_at_once() -> None:
    gates: list[Any] = []

    def wait(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        gates.append(gevent.event.Event())
        gates[0].wait()
        return hello(environ, start_response)

    with running(wait, timeouts=NEVER) as runner, Client(runner.server.address) as client:
        client.send(get())
        until(lambda: gates, "the application to be called")
        outcomes = [drain(runner), drain(runner)]
        runner.call(gates[0].set)
        assert client.response().body == b"hello"
        client.finish()
        for outcome in outcomes:
            ended_in_time(outcome)


def test_a_silent_tls_client_does_not_hold_a_drain(
    certificate: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        running(hello, timeouts=NEVER, **certificate) as runner,
        Client(runner.server.address),
        over_tls(Client(runner.server.address)) as idle,
    ):
        assert idle.ask(get()).status == 200
        until(lambda: runner.server.counters["accepted"] == 2, "both connections")
        ended_in_time(drain(runner))
    assert "Traceback" not in capfd.readouterr().err


def test_serve_forever_leaves_a_drain_its_time() -> None:
    with running(hello, timeouts=NEVER) as runner, Client(runner.server.address) as client:
        runner.call(lambda: gevent.spawn(runner.server.serve_forever) and None)
        runner.call(lambda: gevent.sleep(0))
        client.send(get()[:-1])
        until_read(client)
        outcome = drain(runner)
        assert not select.select([client.sock], [], [], 0.8)[0], "cut"
        client.send(b"\n")
        assert client.response().status == 200
        client.finish()
        ended_in_time(outcome)


def test_stop_from_within_the_application() -> None:
    def stop(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        runner.server.stop(0.1)
        return hello(environ, start_response)

    with running(stop, timeouts=NEVER) as runner, Client(runner.server.address) as client:
        r = client.ask(get())
        assert (r.body, r.says_close) == (b"hello", True)
        settled(runner)  # the client does not close


@pytest.mark.parametrize("doing", ["uploading", "downloading"])
def test_stop_cuts_and_says_nothing_against_the_application(
    doing: str, caplog: pytest.LogCaptureFixture
) -> None:
    def either(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi.input"].read()
        return huge(environ, start_response)

    with running(either, timeouts=NEVER) as runner, sluggish(runner) as client:
        client.send(post(b"Content-Length: 1") if doing == "uploading" else get())
        until_read(client)
        if doing == "downloading":
            select.select([client.sock], [], [])
        runner.call(lambda: runner.server.stop(0.1))
        settled(runner)
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


def test_start_after_stop_and_a_second_server_in_the_hub() -> None:
    with running(hello, timeouts=NEVER) as runner, Client(runner.server.address) as client:
        other = runner.call(lambda: WSGIServer(("127.0.0.1", 0), hello))
        assert client.ask(get()).status == 200
        for _ in range(2):
            runner.call(other.start)
            with Client(other.address) as second:
                assert second.ask(get()).status == 200
                runner.call(lambda: other.stop(DEADLINE))
                assert second.ended()
            assert client.ask(get()).status == 200


# --- deadlines -------------------------------------------------------------------------------


def test_the_applications_time_is_not_charged_to_the_client() -> None:
    """The application pauses between two reads of a body for longer than the body deadline."""
    asked = threading.Event()

    def slow(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read(1)
        gevent.sleep(1.2)
        asked.set()
        body += environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [body]

    with running(slow, timeouts=only(body=1)) as runner, Client(runner.server.address) as client:
        client.send(post(b"Content-Length: 5"))
        until_read(client)
        client.send(b"h")
        assert asked.wait(DEADLINE)
        select.select([], [], [], 0.1)  # the second read has to wait
        client.send(b"ello")
        assert client.response().body == b"hello"


def test_a_tls_client_that_does_not_read(certificate: dict[str, str]) -> None:
    with (
        running(huge, timeouts=only(body=0.5), **certificate) as runner,
        over_tls(sluggish(runner)) as client,
    ):
        client.send(get())
        settled(runner)


def test_a_body_deadline_does_not_fire_in_a_tls_response(certificate: dict[str, str]) -> None:
    def slow(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi.input"].read()
        gevent.sleep(1.6)
        # On a busy machine the client may stall for that long, which would end the response.
        (connection,) = runner.server._connections
        connection.transport.stall = 0
        return huge(environ, start_response)

    with (
        running(slow, timeouts=only(body=1.5), **certificate) as runner,
        over_tls(sluggish(runner)) as client,
    ):
        client.send(post(b"Content-Length: 1"))
        client.send(b"x")
        assert client.response().body == b"x" * HUGE


def test_tls_ends_with_a_close_notify(certificate: dict[str, str]) -> None:
    """Without it a client could not tell the end of the body from an attacker's RST."""
    with (
        running(hello, timeouts=NEVER, **certificate) as runner,
        over_tls(Client(runner.server.address), suppress_ragged_eofs=False) as client,
    ):
        client.send(lines(b"GET / HTTP/1.0"))
        assert client.response().body == b"hello"
        assert client.ended()


# --- the response and what follows it --------------------------------------------------------


def test_no_100_continue_within_a_response() -> None:
    def late(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"first "
        yield environ["wsgi.input"].read()

    with running(late, timeouts=NEVER) as runner, Client(runner.server.address) as client:
        client.send(post(b"Expect: 100-continue", b"Content-Length: 4"))
        select.select([client.sock], [], [])
        select.select([], [], [], 0.1)  # a 100 Continue would come now
        client.send(b"last")
        assert client.response().body == b"first last"


def test_a_late_write_reaches_nobody() -> None:
    writes: list[Any] = []

    def late(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        for write in writes:
            with pytest.raises(ConnectionError):
                write(b"LATE")
        writes.append(start_response("200 OK", []))
        return [b"he", b"llo"]

    with running(late, timeouts=NEVER) as runner, Client(runner.server.address) as client:
        for _ in range(3):
            assert client.ask(get()).body == b"hello"


@pytest.mark.parametrize("caught", ["a gevent.Timeout", "our deadline"])
def test_nothing_follows_a_write_that_was_cut_off(caught: str) -> None:
    done = threading.Event()

    def careless(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        try:
            with gevent.Timeout(0.3 if caught == "a gevent.Timeout" else None, False):
                write(b"x" * HUGE)
        except OSError:
            pass
        done.set()
        return [b"tail"]

    with running(careless, timeouts=only(body=0.5)) as runner, sluggish(runner) as client:
        client.send(get())
        assert done.wait(DEADLINE)
        received = client._rest()
        assert set(received.partition(b"\r\n\r\n")[2].partition(b"\r\n")[2]) == {ord("x")}
        settled(runner)


def test_an_access_log_that_fails_ends_no_connection(caplog: pytest.LogCaptureFixture) -> None:
    def fail(access: Any) -> None:
        raise RuntimeError("as the test wants")

    with (
        running(hello, timeouts=NEVER, access=fail) as runner,
        Client(runner.server.address) as client,
    ):
        client.send(get() * 2)
        assert [client.response().body for _ in range(2)] == [b"hello"] * 2


def test_a_request_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def fail(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise ValueError

    with running(fail, timeouts=NEVER) as runner, Client(runner.server.address) as client:
        assert client.ask(get(target=b"/%0aforged%1b[31m")).status == 500
    assert not [m for m in caplog.messages if not m.isprintable()]
    assert any("forged" in m for m in caplog.messages)

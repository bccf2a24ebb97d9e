# SPDX-License-Identifier: MIT
"""Crowds of hostile clients, and faulty applications: other connections must not be affected.

These tests check the state that is left behind. test_table.py checks the syntax of single requests.
"""

from __future__ import annotations

import contextvars
import gc
import logging
import select
from random import Random
from typing import Any

import gevent
import gevent.event
import pytest

from ctwsgi.http.limits import Timeouts
from ctwsgi.server.connection import ServedConnection
from tests.running import running

from .cases import get, post
from .hostile import (
    HUGE,
    NEVER,
    SOURCES,
    Bad,
    Good,
    application,
    connections,
    descriptors,
    discard,
    drain,
    ended_in_time,
    framed,
    hello,
    only,
    settled,
    source,
)
from .wire import DEADLINE, Client, until

BRIEF = Timeouts(origin=0.5, request=0.5, body=0.5, keepalive=0.5, linger=0.5)
FAIR = Timeouts(origin=2, request=2, body=2, keepalive=2, linger=0.5)
"""Longer than a good client stands still on a busy machine."""


# --- crowds ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOURCES)
def test_a_crowd_leaves_nothing_behind(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("ctwsgi").info("crowd")  # opens what logging keeps open
    random = Random(f"crowd {name}")
    with running(application, source=source(name), timeouts=BRIEF, max_connections=50) as runner:
        with Client(runner.server.address) as client:
            client.send(framed(name, get(target=b"/get/first")))
            assert client.response().body == b"first"
        settled(runner)
        gc.collect()  # it may close what earlier tests have left
        before = descriptors()
        crowd = Bad(runner.server.address, name, random)
        for _ in range(400):
            crowd.come()
            if random.random() < 0.9:
                crowd.go()
        crowd.all_go()
        # The listener's queue may still hold connections that their clients have left.
        until(lambda: connections(runner) == 0 and descriptors() == before, "all to be closed")
        with Client(runner.server.address) as client:
            client.send(framed(name, get(target=b"/get/last")))
            assert client.response().body == b"last"
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("seed", range(4))
def test_good_clients_in_a_crowd(seed: int, capfd: pytest.CaptureFixture[str]) -> None:
    """Each good client gets its own answers, complete and in order. Then all connections end."""
    random = Random(seed)
    name, cap = SOURCES[seed % 3], random.choice([3, 10, 100])
    answered: list[Any] = []
    with running(
        application,
        source=source(name),
        timeouts=FAIR,
        max_connections=cap,
        access=answered.append,
    ) as runner:
        address = runner.server.address
        crowd = Bad(address, name, random)
        good = []
        for _ in range(random.randrange(20, 40)):
            random.choice(
                [lambda: good.append(Good(address, name, random.random())), crowd.come, crowd.go]
            )()
            select.select([], [], [], random.choice([0, 0, 0.005]))
        for client in good:
            client.join(DEADLINE)
            assert not client.is_alive()
            assert client.error is None, client.error
        if seed % 2:
            ended_in_time(drain(runner))
        else:
            crowd.all_go()
        settled(runner)
        crowd.all_go()
        counters = runner.call(lambda: dict(runner.server.counters))
        assert counters["requests"] == len(answered) == runner.server.served
    assert "Traceback" not in capfd.readouterr().err


ENDINGS = {
    "answered": get(target=b"/get/x"),
    "failed": get(target=b"/raise/x"),
    "malformed": b"\x16junk\r\n\r\n",
    "too many headers": get(*[b"A: b"] * 200),
    "half a head": b"GET /",
    "half a body": post(b"Content-Length: 5", body=b"he", target=b"/echo/x"),
    "broken chunks": post(b"Transfer-Encoding: chunked", body=b"zz\r\n", target=b"/echo/x"),
    "nothing": b"",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_connection_is_freed_without_the_garbage_collector(ending: str) -> None:
    """Otherwise closed connections would take memory until the collector runs."""
    # Not the real log, because pytest keeps its records, whose tracebacks refer to the frames.
    quiet = logging.Logger("quiet", logging.CRITICAL + 1)
    with running(application, timeouts=NEVER, log=quiet) as runner:
        others = {id(o) for o in gc.get_objects() if type(o) is ServedConnection}
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                with Client(runner.server.address) as client:
                    client.send(ENDINGS[ending])
                    client.finish()
                    client._rest()
            settled(runner)
            runner.call(lambda: gevent.sleep(0))
            left = [
                o for o in gc.get_objects() if type(o) is ServedConnection and id(o) not in others
            ]
            assert len(left) == 0
        finally:
            gc.enable()


# --- greenlets -------------------------------------------------------------------------------


def test_a_leftover_timeout_hits_nobody() -> None:
    """A gevent.Timeout that an application does not cancel affects no other connection."""

    def forget(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/forget":
            gevent.Timeout(0.2).start()
        else:
            gevent.sleep(0.3)
        return hello(environ, start_response)

    with running(forget, timeouts=NEVER, max_connections=2) as runner:
        for _ in range(2):  # the second time with the greenlet of the first
            with Client(runner.server.address) as client:
                assert client.ask(get(target=b"/forget")).status == 200
            settled(runner)
            with Client(runner.server.address) as client:
                assert client.ask(get()).status == 200
            settled(runner)


def test_a_killed_idle_greenlet_is_not_used_again() -> None:
    ours: list[Any] = []

    def remember(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        ours.append(gevent.getcurrent())
        return hello(environ, start_response)

    with running(remember, timeouts=NEVER, max_connections=1) as runner:
        for _ in range(3):
            with Client(runner.server.address) as client:
                assert client.ask(get()).body == b"hello"
            settled(runner)
            runner.call(lambda: gevent.kill(ours[-1]))


def test_context_variables_stay_with_their_connection() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    def remember(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        before = variable.get()
        variable.set("set")
        start_response("200 OK", [])
        return [before.encode()]

    with running(remember, timeouts=NEVER) as runner:
        for _ in range(5):
            with Client(runner.server.address) as client:
                assert client.ask(get()).body == b"unset"
            settled(runner)


@pytest.mark.parametrize("error", [gevent.Timeout, gevent.GreenletExit, SystemExit, ValueError])
def test_whatever_an_application_raises_is_a_500(error: type[BaseException]) -> None:
    def fail(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise error

    with running(fail, timeouts=NEVER) as runner, Client(runner.server.address) as client:
        assert client.ask(get()).status == 500
        client.finish()
        assert client.ended()
        assert runner.server.counters["application-error"] == 1


def test_a_reader_left_behind_is_told() -> None:
    readers: list[Any] = []

    def leave(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        readers.append(gevent.spawn(environ["wsgi.input"].read))
        gevent.sleep(0)
        return hello(environ, start_response)

    with running(leave, timeouts=NEVER) as runner:
        with Client(runner.server.address) as client:
            r = client.ask(post(b"Content-Length: 5", body=b"he"))
            assert r.body == b"hello"
        settled(runner)
        until(lambda: readers[0].dead, "the reader to end")
        assert isinstance(readers[0].exception, OSError)


def test_reading_and_writing_at_once_keep_their_deadlines() -> None:
    """The reader's deadline holds also while a sender waits."""

    def both(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        reader = gevent.spawn(environ["wsgi.input"].read)
        gevent.sleep(0)
        start_response("200 OK", [])(b"x" * HUGE)
        reader.join()
        return []

    with running(both, timeouts=only(body=0.5)) as runner, Client(runner.server.address) as client:
        client.send(post(b"Content-Length: 5", body=b"he"))
        discard(client)
        settled(runner)


def test_two_writers_do_not_wait_for_ever() -> None:
    """Two writers are an error of the application; the connection must end."""

    def two(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        gevent.joinall([gevent.spawn(write, b"x" * HUGE) for _ in range(2)])
        return []

    with running(two, timeouts=BRIEF) as runner, Client(runner.server.address) as client:
        client.send(get())
        discard(client)
        settled(runner)

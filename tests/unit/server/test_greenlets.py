# SPDX-License-Identifier: MIT
"""A greenlet is reused only when nothing of its last task is attached to it."""

from __future__ import annotations

import contextvars
import os
import subprocess
import sys
import weakref

import gevent
import gevent.local
import pytest

from ctwsgi.server.greenlets import Greenlets

seen = []


@pytest.fixture
def pool():
    seen.clear()
    pool = Greenlets()
    gevent.sleep(0)  # the greenlet that others are compared with starts
    return pool


def run(pool, task):
    """Runs `task` in the pool; returns the id of its greenlet."""
    done = gevent.event.Event()
    ids = []

    def wrapped():
        ids.append(id(gevent.getcurrent()))
        try:
            task()
        finally:
            done.set()

    pool.spawn(wrapped)
    assert done.wait(5)
    gevent.sleep(0)
    return ids[0]


def nothing():
    pass


REUSE = """
import gevent
from ctwsgi.server.greenlets import Greenlets

pool, ids = Greenlets(), []
gevent.sleep(0)
for task in (lambda: None, lambda: gevent.sleep(0), lambda: None):
    pool.spawn(lambda: (ids.append(id(gevent.getcurrent())), task()))
    gevent.sleep(0)
    gevent.sleep(0)
assert len(ids) == 3 and len(set(ids)) == 1, ids
"""


def test_a_clean_greenlet_is_used_again():
    """In its own process: coverage's tracer keeps a reference to every greenlet that it sees."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    subprocess.run([sys.executable, "-c", REUSE], check=True, env=environ)


def leave_a_timeout():
    gevent.Timeout(0.05).start()


def leave_a_local():
    local.value = 1


def leave_a_reference():
    seen.append(gevent.getcurrent())


def leave_an_attribute():
    gevent.getcurrent().client = "somebody"


local = gevent.local.local()


@pytest.mark.parametrize(
    "leave", [leave_a_timeout, leave_a_local, leave_a_reference, leave_an_attribute]
)
def test_a_greenlet_that_something_clings_to_is_not(pool, leave):
    run(pool, leave)
    assert len(pool._idle) == 1
    outcome = []

    def task():
        outcome.append(getattr(local, "value", None))
        outcome.append(getattr(gevent.getcurrent(), "client", None))
        gevent.sleep(0.1)  # the leftover Timeout would hit here
        outcome.append("whole")

    run(pool, task)
    assert outcome == [None, None, "whole"]


def test_a_dropped_greenlet_takes_its_locals_with_it(pool):
    class Kept:
        pass

    kept = Kept()
    alive = weakref.ref(kept)

    def task(value):
        local.value = value

    run(pool, lambda value=kept: task(value))
    del kept
    run(pool, nothing)
    gevent.sleep(0)
    assert alive() is None


def test_contextvars_start_empty(pool):
    variable = contextvars.ContextVar("variable", default=None)
    run(pool, lambda: variable.set("somebody"))
    run(pool, lambda: seen.append(variable.get()))
    assert seen == [None]


def test_a_foreign_switch_ends_an_idle_greenlet(pool):
    run(pool, leave_a_reference)
    gevent.get_hub().loop.run_callback(seen[0].switch, "junk")
    gevent.sleep(0)
    assert seen[0].dead
    run(pool, nothing)


def test_an_error_costs_its_greenlet_only(pool):
    def fail():
        raise ZeroDivisionError

    pool.spawn(fail)
    gevent.sleep(0)
    assert pool._idle == []
    run(pool, nothing)


def test_no_more_than_a_few_are_kept():
    pool = Greenlets(spare=2)
    release = gevent.event.Event()
    for _ in range(5):
        pool.spawn(release.wait)
    gevent.sleep(0)
    release.set()
    gevent.sleep(0)
    assert len(pool._idle) == 2

# SPDX-License-Identifier: MIT
"""Gateways that follow a real Redis: restarts of both, and changes in between."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from ctwsgi_portal.state import StoreError, open_store
from ctwsgi_portal.state.records import Grant, Voucher, new_id
from ctwsgi_portal.state.redis import PREFIX

from tests.lab import Lab
from tests.lab.portal import INTERNET
from tests.lab.requirements import unavailable
from tests.lab.streams import receive_exactly

from .gateway import TWO_CLIENTS, Gateway, in_time, passes
from .stores import RedisServer, Unavailable

needs_lab = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))


class Following(Gateway):
    """A gateway whose store is `server`."""

    def __init__(self, lab: Lab, server: RedisServer) -> None:
        super().__init__(lab, server.url)
        self.server = server
        self.redis = redis.Redis.from_url(server.url, decode_responses=True)
        self.configure()
        self.agent = self.start()


@pytest.fixture
def running() -> Iterator[Following]:
    with Lab(TWO_CLIENTS) as lab:
        try:
            with RedisServer(lab.scratch / "redis") as server:
                following = Following(lab, server)
                yield following
                following.close()
        except Unavailable as e:
            pytest.skip(str(e))


@needs_lab
def test_a_restart_of_redis_loses_no_grant(running: Following) -> None:
    kept = running.grant(running.client)
    in_time(lambda: passes(running.client), "passage")
    with running.client.connect((INTERNET[4], 7)) as flow:
        running.server.kill()
        in_time(lambda: "trying again" in running.agent.log(), "the agent's complaint")
        assert passes(running.client)
        with pytest.raises(StoreError, match="is this Redis running"):
            running.store.snapshot()
        running.server.start()
        assert [s.grant.id for s in running.store.snapshot().sessions] == [kept.id]
        running.grant(running.other)
        in_time(lambda: passes(running.other), "a grant after the restart")
        flow.sendall(b"1")
        assert flow.recv(1) == b"1"
    running.store.end(kept.id, "kicked")
    in_time(lambda: not passes(running.client), "an end after the restart")


@needs_lab
def test_what_is_used_without_redis_is_charged(running: Following) -> None:
    """A client whose time runs out meanwhile is cut off."""
    running.store.add_vouchers([Voucher("digest", "batch", 3600, None, 1, 2e9)])
    running.grant(running.client, voucher="digest")
    in_time(lambda: passes(running.client), "passage")
    with running.client.connect((INTERNET[4], 7)) as flow:
        running.grant(running.client, lifetime=8, voucher="digest")
        in_time(lambda: running.ends_soon("macs"), "the short grant in the filter")
        running.server.kill()
        in_time(lambda: "trying again" in running.agent.log(), "the agent's complaint")
        for _ in range(10):
            flow.sendall(bytes(10_000))
            receive_exactly(flow, 10_000)
        in_time(lambda: not running.elements("macs"), "the end of the grant")
        in_time(lambda: not running.flows(running.client.address()), "no flow in conntrack")
    running.server.start()
    in_time(lambda: running.store.vouchers()[0].used_bytes >= 200_000, "the bytes")
    assert running.store.vouchers()[0].used_bytes < 250_000


@needs_lab
def test_a_grant_ended_while_the_agent_was_dead(running: Following) -> None:
    ended = running.grant(running.client)
    in_time(lambda: passes(running.client), "passage")
    running.agent.signal(signal.SIGKILL)
    in_time(lambda: running.agent.returncode is not None, "death")
    running.store.end(ended.id, "kicked")
    running.grant(running.other)
    running.server.kill()
    running.server.start()
    running.start()
    in_time(lambda: passes(running.other), "the new grant")
    assert not passes(running.client)


@needs_lab
def test_an_agent_that_missed_more_than_is_kept(running: Following) -> None:
    ended = running.grant(running.client)
    in_time(lambda: passes(running.client), "passage")
    running.agent.signal(signal.SIGSTOP)
    running.store.end(ended.id, "kicked")
    running.grant(running.other)
    running.redis.xtrim(f"{PREFIX}changes", maxlen=0)
    running.agent.signal(signal.SIGCONT)
    in_time(lambda: passes(running.other), "the new grant")
    assert not passes(running.client)


@needs_lab
def test_a_redis_that_forgot_everything_leaves_nobody_in(running: Following) -> None:
    running.grant(running.client)
    in_time(lambda: passes(running.client), "passage")
    running.redis.flushall()
    in_time(lambda: not passes(running.client), "the end")
    running.grant(running.other)
    in_time(lambda: passes(running.other), "a grant of the new history")


@needs_lab
def test_an_agent_that_starts_before_redis(running: Following) -> None:
    running.grant(running.client)
    in_time(lambda: passes(running.client), "passage")
    running.agent.stop()
    running.server.kill()
    again = running.gateway.popen(running.agent_command)
    in_time(lambda: "trying again" in again.log(), "the agent's complaint")
    assert passes(running.client)
    assert not passes(running.other)
    running.server.start()
    in_time(lambda: "1 sessions" in again.log(), "the snapshot")
    assert passes(running.client)


def test_redis_itself_deletes_sessions_that_no_call_ends(tmp_path: Path) -> None:
    now = time.time()
    made = Grant(new_id(), "guests", "10.0.0.1", None, now, now + 100, None, "click")
    try:
        with (
            RedisServer(tmp_path) as server,
            redis.Redis.from_url(server.url, decode_responses=True) as client,
        ):
            store = open_store(server.url)
            store.grant(made)
            for key in (f"{PREFIX}s:{made.id}", f"{PREFIX}a:{made.network} {made.address}"):
                assert 100 < client.ttl(key) <= 100 + 86400
            store.close()
    except Unavailable as e:
        pytest.skip(str(e))


def test_the_password_is_in_no_message() -> None:
    with pytest.raises(StoreError) as caught:
        open_store("redis://user:geheim@127.0.0.1:1/0")
    assert "geheim" not in str(caught.value)

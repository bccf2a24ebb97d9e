# SPDX-License-Identifier: MIT
"""`check` and every start name the settings of Redis by which grants may be lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from ctwsgi_portal.state import open_store

from .serving import PortalProcess, run
from .stores import RedisServer, Unavailable

FORGETFUL = ("--appendonly", "no", "--maxmemory-policy", "allkeys-lru")
APPENDONLY = "appendonly no: a restart forgets grants"
POLICY = "maxmemory-policy allkeys-lru: grants may be forgotten"


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    try:
        with RedisServer(tmp_path / "redis", *getattr(request, "param", ())) as server:
            yield server.url
    except Unavailable as e:
        pytest.skip(str(e))


def advice(url: str) -> list[str]:
    store = open_store(url)
    try:
        return store.advice()
    finally:
        store.close()


def test_a_redis_that_keeps_everything_needs_none(url: str) -> None:
    assert advice(url) == []


@pytest.mark.parametrize("url", [FORGETFUL], indirect=True)
def test_each_setting_is_named(url: str) -> None:
    appendonly, policy = advice(url)
    assert appendonly.startswith(f"{url}: {APPENDONLY}")
    assert policy.startswith(f"{url}: {POLICY}")


def test_a_user_who_may_not_ask_is_told_so(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.execute_command("ACL", "SETUSER", "default", "-info")
    appendonly, policy = advice(url)
    assert "appendonly cannot be seen" in appendonly
    assert "maxmemory-policy cannot be seen" in policy


@pytest.mark.parametrize("url", [FORGETFUL], indirect=True)
def test_check_and_the_start_say_it(url: str, tmp_path: Path) -> None:
    with PortalProcess(tmp_path, store=url) as portal:
        told = run(portal.config, "check")
        assert f"note: {url}: {APPENDONLY}" in told
        assert f"note: {url}: {POLICY}" in told
        assert f"WARNING: {url}: {POLICY}" in portal.log

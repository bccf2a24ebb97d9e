# SPDX-License-Identifier: MIT
"""The store in a Redis cluster of three nodes. One of them has the slot of all keys."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from ctwsgi_portal.state import Store, open_store
from ctwsgi_portal.state.records import Grant, Voucher, new_id

from tests.lab.wait import until

from .serving import fresh_host
from .stores import report

pytestmark = pytest.mark.skipif(
    not shutil.which("redis-server"), reason="no redis-server: apt-get install redis-server"
)

NODES = 3
PORT = 7000
"""Of each node, at a loopback address of its own."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    hosts = [fresh_host() for _ in range(NODES)]
    with ExitStack() as stack:
        for host in hosts:
            stack.callback(_end, start(tmp_path_factory.mktemp("node"), host))
        addresses = [f"{host}:{PORT}" for host in hosts]
        create = ["redis-cli", "--cluster", "create", *addresses, "--cluster-yes"]
        done = subprocess.run(create, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        for host in hosts:
            wait_for(host, "cluster info", b"cluster_state:ok")
        opened = open_store(f"redis+cluster://{addresses[0]}")
        yield opened
        opened.close()


def start(folder: Path, host: str) -> subprocess.Popen[bytes]:
    """Starts a node that is not in a cluster yet."""
    process = subprocess.Popen(
        ["redis-server", "--bind", host, "--port", str(PORT), "--dir", str(folder), "--save", "",
         "--cluster-enabled", "yes", "--cluster-announce-ip", host],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(host, "ping", b"PONG")
    return process


def wait_for(host: str, words: str, answer: bytes) -> None:
    command = ["redis-cli", "-h", host, "-p", str(PORT), *words.split()]
    until(lambda: answer in subprocess.run(command, capture_output=True).stdout, words)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def test_a_session_from_grant_to_end(store: Store) -> None:
    now = time.time()
    cursor = store.snapshot().cursor
    made = Grant(new_id(), "guests", "10.0.0.1", None, now, now + 60, None, "click")
    store.grant(made)
    assert report(store, made.id, "gw", "02:00:00:00:00:01", ["2001:db8::1"], 7)
    session = store.covering("guests", "2001:db8::1")
    assert session is not None
    assert session.usage.bytes == 7
    assert len(store.snapshot().sessions) == 1
    assert store.end(made.id, "logout")
    kinds = [change.kind for change in store.changes(cursor, 1)]
    assert kinds == ["granted", "updated", "ended"]
    assert store.ended(1)[0].reason == "logout"


def test_waiting_and_vouchers(store: Store) -> None:
    now = time.time()
    assert store.changes(store.snapshot().cursor, 0.2) == []
    store.add_vouchers([Voucher("d", "batch", 60, None, 1, now + 60, now)])
    assert store.redeem("d", "a") is not None
    assert store.redeem("d", "b") is None
    assert store.revoke(label="batch") == 1
    assert store.attempt("key", 1, 60)
    assert not store.attempt("key", 1, 60)


def test_advice_is_about_any_node(store: Store) -> None:
    """These nodes run without appendonly."""
    assert [text for text in store.advice() if "appendonly no" in text]

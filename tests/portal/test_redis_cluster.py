# SPDX-License-Identifier: MIT
"""The store in a Redis cluster of three: all keys share one slot, whichever node has it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from ctwsgi_portal.state import Store, open_store
from ctwsgi_portal.state.records import Grant, Voucher, new_id

from .stores import report

pytestmark = pytest.mark.skipif(
    not shutil.which("redis-server"), reason="no redis-server: apt-get install redis-server"
)

NODES = 3
_BUS = 10_000  # a node's bus port is so much above its own


def free_port() -> int:
    """One that is free, and its bus port as well."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = int(probe.getsockname()[1]) - _BUS
        if port < 1024:
            continue
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    ports = [free_port() for _ in range(NODES)]
    with ExitStack() as stack:
        for port in ports:
            stack.callback(_end, start(tmp_path_factory.mktemp("node"), port))
        addresses = [f"127.0.0.1:{port}" for port in ports]
        create = ["redis-cli", "--cluster", "create", *addresses, "--cluster-yes"]
        done = subprocess.run(create, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        for port in ports:
            wait_until_formed(port)
        opened = open_store(f"redis+cluster://{addresses[0]}")
        yield opened
        opened.close()


def start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """A node without a cluster yet."""
    process = subprocess.Popen(
        ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder),
         "--cluster-enabled", "yes", "--save", ""],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(port, "ping", b"PONG")
    return process


def wait_until_formed(port: int) -> None:
    wait_for(port, "cluster info", b"cluster_state:ok")


def wait_for(port: int, words: str, answer: bytes) -> None:
    end = time.monotonic() + 30
    command = ["redis-cli", "-p", str(port), *words.split()]
    while answer not in subprocess.run(command, capture_output=True).stdout:
        assert time.monotonic() < end, f"{words}: no {answer!r}"
        time.sleep(0.02)


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
    """These keep nothing."""
    assert [text for text in store.advice() if "appendonly no" in text]

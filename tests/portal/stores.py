# SPDX-License-Identifier: MIT
"""The implementations of the store. A function for each makes a fresh store, and yields its URL.

A test with the fixture `store_url` or `store` runs once for each. An implementation that cannot run
here raises Unavailable with the reason, and its tests are skipped.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from ctwsgi_portal.state import Store
from ctwsgi_portal.state.records import Report, new_id

from tests.lab.wait import until


def report(
    store: Store,
    grant_id: str,
    gateway: str,
    mac: str | None,
    addresses: Sequence[str],
    added: int,
    **fields: Any,
) -> bool:
    """Sends one report. False when the session does not exist (any more)."""
    one = Report(grant_id, mac, tuple(addresses), added=added, **fields)
    return not store.report(gateway, new_id(), [one])


class Unavailable(Exception):
    """The message says in one line what is missing."""


class RedisServer:
    """redis-server with `appendonly yes`, at a unix socket. `options` may override its options."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self._options = options
        directory.mkdir(exist_ok=True)
        self._socket = directory / "redis.sock"
        self.url = f"unix://{self._socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Starts it, with the data of an earlier start, and waits until it answers."""
        if not shutil.which("redis-server"):
            raise Unavailable("no redis-server: apt-get install redis-server")
        self._process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", str(self._socket), "--dir",
             str(self.directory), "--appendonly", "yes", "--save", "", *self._options],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        until(lambda: b"PONG" in self._cli("ping"), "redis-server's answer")

    def kill(self) -> None:
        """Kills it, so that it cannot flush anything."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _cli(self, *words: str) -> bytes:
        command = ["redis-cli", "-s", str(self._socket), *words]
        return subprocess.run(command, capture_output=True).stdout


@contextmanager
def sqlite(directory: Path) -> Iterator[str]:
    """A file in a directory that does not exist yet."""
    yield f"sqlite:{directory}/state/portal.db"


@contextmanager
def redis(directory: Path) -> Iterator[str]:
    """A server with its socket and data in the directory."""
    with RedisServer(directory) as server:
        yield server.url


STORES: dict[str, Callable[[Path], AbstractContextManager[str]]] = {
    "redis": redis,
    "sqlite": sqlite,
}

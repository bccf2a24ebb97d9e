# SPDX-License-Identifier: MIT
"""The implementations of the store, each by a function that gives the URL of a fresh one.

A test that takes `store_url` or `store` runs once for each. An implementation that cannot run
here raises Unavailable with the reason, and its tests are skipped.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from ctwsgi_portal.state import Store
from ctwsgi_portal.state.records import Report, new_id


def report(
    store: Store,
    grant_id: str,
    gateway: str,
    mac: str | None,
    addresses: Sequence[str],
    added: int,
    **fields: Any,
) -> bool:
    """One report; whether there still is such a session."""
    one = Report(grant_id, mac, tuple(addresses), added=added, **fields)
    return not store.report(gateway, new_id(), [one])


class Unavailable(Exception):
    """What is missing here, in one line."""


class RedisServer:
    """Debian's redis-server, which keeps what it is told (appendonly), at a unix socket.

    `options` are more of its own, or others than that.
    """

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
        """Waits until it answers. What an earlier one wrote down is there again."""
        if not shutil.which("redis-server"):
            raise Unavailable("no redis-server: apt-get install redis-server")
        self._process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", str(self._socket), "--dir",
             str(self.directory), "--appendonly", "yes", "--save", "", *self._options],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        end = time.monotonic() + 30
        while b"PONG" not in self._cli("ping"):
            assert time.monotonic() < end, "redis-server does not answer"
            time.sleep(0.02)

    def kill(self) -> None:
        """As a crash would: no word of farewell, nothing flushed."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _cli(self, *words: str) -> bytes:
        command = ["redis-cli", "-s", str(self._socket), *words]
        return subprocess.run(command, capture_output=True).stdout


@contextmanager
def sqlite(directory: Path) -> Iterator[str]:
    """A file in a directory that is not there yet."""
    yield f"sqlite:{directory}/state/portal.db"


@contextmanager
def redis(directory: Path) -> Iterator[str]:
    """A server of our own, at a socket in the directory."""
    with RedisServer(directory) as server:
        yield server.url


STORES: dict[str, Callable[[Path], AbstractContextManager[str]]] = {
    "redis": redis,
    "sqlite": sqlite,
}

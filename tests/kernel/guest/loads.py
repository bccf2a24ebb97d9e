# SPDX-License-Identifier: MIT
"""The conversations: for each a function for the client and one for the server.

Each conversation ends with a FIN from both sides, read as EOF by the other side, unless its name
says otherwise. A client's first piece is longer than 200 bytes, because impair.py recognizes a data
segment by its length.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from socket import IPPROTO_TCP, TCP_NODELAY

from .endpoints import Accepted, Client


@dataclass(frozen=True)
class Load:
    """A conversation, the number of connections, and how it ends for each side."""

    name: str
    client: Callable[[Client], Awaitable[None]]
    server: Callable[[Accepted], Awaitable[None]]
    connections: int = 1
    at_once: int = 1
    client_end: str = "eof"
    server_end: str = "eof"
    data: bool = True
    """The client sends payload."""
    origin: bool = True
    """The server reads enough to learn the origin."""
    connects: bool = True
    """The client connects before its function begins."""


def upload(name: str, up: int, down: int) -> Load:
    """The client sends, the server answers and closes first."""

    async def client(end: Client) -> None:
        await end.send(up)
        await end.until_end()

    async def server(end: Accepted) -> None:
        await end.receive(up)
        await end.send(down)
        end.finish()
        await end.until_end()

    return Load(name, client, server)


def keepalive(requests: int) -> Load:
    """Requests of different sizes on one connection, in turn; the client closes first."""
    draw = random.Random(requests)
    sizes = [(300, 100)]
    for number in range(1, requests):
        up = draw.choice((1, 17, 90, 500, 1448, 3000, 20000) if number % 9 else (8, 65536))
        sizes.append((up, draw.choice((1, 200, 1448, 5000))))

    async def client(end: Client) -> None:
        for up, down in sizes:
            await end.send(up)
            await end.receive(down)
        end.finish()
        await end.until_end()

    async def server(end: Accepted) -> None:
        for up, down in sizes:
            await end.receive(up)
            await end.send(down)
        await end.until_end()

    return Load("keepalive", client, server)


def parallel(connections: int, at_once: int | None = None) -> Load:
    """Many connections, each with a request and an answer."""
    one = upload("parallel", 2000, 500)
    return Load("parallel", one.client, one.server, connections, at_once or connections)


def small_writes(writes: int) -> Load:
    """Segments of about a hundred bytes. TCP joins lost ones into full segments, which hold many
    frames and end anywhere, also within a frame's header."""
    sizes = [60 + 37 * number % 211 for number in range(writes)]

    async def client(end: Client) -> None:
        end.sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        for size in sizes:
            await end.send(size)
        await end.until_end()

    async def server(end: Accepted) -> None:
        await end.receive(sum(sizes))
        end.finish()
        await end.until_end()

    return Load("small-writes", client, server)


async def _close_client(end: Client) -> None:
    end.close()


async def _close_server(end: Accepted) -> None:
    await end.until_end()


CLOSE = Load("close", _close_client, _close_server, client_end="closed", data=False)
"""Connects and closes at once."""


async def _half_client(end: Client) -> None:
    await end.send(5000)
    end.finish()
    await end.until_end()


async def _half_server(end: Accepted) -> None:
    await end.until_end()
    await end.send(50_000)


HALF_CLOSE = Load("half-close", _half_client, _half_server)
"""The answer comes after the client's FIN."""


async def _first_client(end: Client) -> None:
    await end.receive(100)
    await end.send(700)
    await end.receive(3000)
    end.finish()
    await end.until_end()


async def _first_server(end: Accepted) -> None:
    await end.send(100)
    await end.receive(700)
    await end.send(3000)
    await end.until_end()


SERVER_FIRST = Load("server-first", _first_client, _first_server)
"""The server speaks before the client does, as SMTP's and SSH's do."""

SMALL = upload("small", 300, 200)

MEGABYTE = 1 << 20


def matrix_loads(full: bool) -> dict[str, Load]:
    """The loads of the matrix. Without --full the big ones are smaller, because emulation is
    slow."""
    loads = (
        SMALL,
        upload("1mb", MEGABYTE, MEGABYTE // 8),
        upload("10mb", (10 if full else 4) * MEGABYTE, MEGABYTE // 8),
        keepalive(200 if full else 80),
        parallel(200 if full else 60),
        CLOSE,
        HALF_CLOSE,
        SERVER_FIRST,
    )
    return {load.name: load for load in loads}

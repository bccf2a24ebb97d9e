# SPDX-License-Identifier: MIT
"""Holds a conversation over real connections, with both endpoints in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from socket import AF_INET, AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY, SO_REUSEADDR, SOL_SOCKET
from socket import socket as Socket

from .endpoints import POOL, Accepted, Client, Lost, forget
from .injector import InjectorUnderTest
from .kernel import until
from .loads import Load
from .net import Namespace
from .places import PORT, Place

LONGEST = 11 << 20
"""Bytes that an endpoint may send."""


class Overtaken(Exception):
    """A client's RST came before the last ACK of its handshake, on another processor. The listener
    has dropped the half-open connection and never accepts it."""


@dataclass
class Pair:
    """Both ends of one connection; the server's is None until it has been accepted."""

    client: Client
    accepted: Accepted | None = None
    errors: list[str] = field(default_factory=list)
    """Errors other than how the connection ended."""

    @property
    def reset_at_once(self) -> bool:
        """The client has reset without having sent or received payload."""
        return self.client.ended == "reset" and not (self.client.sent or self.client.received)

    def __str__(self) -> str:
        there = self.accepted
        return (
            f"port {self.client.source[1]}: client sent {self.client.sent}, received"
            f" {len(self.client.received)}, {self.client.ended or 'open'}; server "
            + (
                f"received {len(there.received)}, sent {there.sent}, {there.ended or 'open'}"
                if there
                else "never accepted"
            )
        )


@dataclass
class Sockets:
    """The functions that make sockets; a case may replace either."""

    client: Callable[[Namespace, int], Socket]
    listener: Callable[[Namespace, int], Socket]


def plain_client(space: Namespace, family: int) -> Socket:
    return space.socket(family)


def plain_listener(space: Namespace, family: int) -> Socket:
    """A TCP socket that listens on every address."""
    return listening(space.socket(family), family)


def listening(sock: Socket, family: int) -> Socket:
    """Binds to PORT on every address of the family, and listens."""
    sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    if family == AF_INET6:
        sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
    sock.bind(("::" if family == AF_INET6 else "0.0.0.0", PORT))
    sock.listen(4096)
    return sock


PLAIN = Sockets(plain_client, plain_listener)


class Talk:
    """One run of a load at a place. `pairs` has the connections.

    Without an injector the clients dial destinations that no injector's rule selects.
    """

    def __init__(
        self,
        place: Place,
        spaces: dict[str, Namespace],
        load: Load,
        injector: InjectorUnderTest | None,
        ports: Iterator[int],
        sockets: Sockets = PLAIN,
    ) -> None:
        self.place, self.load = place, load
        self.injector = injector or InjectorUnderTest()
        self._selected = injector is not None
        self._ports, self._sockets = ports, sockets
        self._client, self._listener = spaces[place.client], spaces[place.listener]
        self._family = AF_INET if place.version == 4 else AF_INET6
        self.pairs: dict[int, Pair] = {}
        """Connections by the client's port."""
        self.unexpected: list[str] = []
        """Accepted connections that no client here made."""
        self._servers: list[asyncio.Task[None]] = []
        self._accepting: asyncio.Task[None]

    async def run(self) -> None:
        """Returns when every connection has ended on both sides; may raise Overtaken."""
        half_open_resets = self._half_open_resets()
        with self.listening():
            turn = asyncio.Semaphore(self.load.at_once)
            await asyncio.gather(
                *(self._connection(number, turn) for number in range(self.load.connections))
            )
            # A client may have ended before the listener has the last ACK of its handshake.
            await until(lambda: self._all_told(half_open_resets), "connections accepted", 120)
            await asyncio.gather(*self._servers)
        if self._missing():
            raise Overtaken(f"{len(self._missing())} of {len(self.pairs)} connections")

    def _all_told(self, half_open_resets: int) -> bool:
        if self._accepting.done():
            self._accepting.result()  # raises its exception: the task ends only with one
        missing = self._missing()
        overtaken = self._half_open_resets() - half_open_resets if missing else 0
        return len(missing) == overtaken and all(pair.reset_at_once for pair in missing)

    def _missing(self) -> list[Pair]:
        return [p for p in self.pairs.values() if p.client.connected and not p.accepted]

    def _half_open_resets(self) -> int:
        return self._listener.counters()["TcpExtEmbryonicRsts"]

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Accepts connections in the `with`, and resets those that are open at its end."""
        listener = self._sockets.listener(self._listener, self._family)
        self._accepting = asyncio.ensure_future(self._accept(listener))
        try:
            yield
        finally:
            self._accepting.cancel()
            forget(listener)
            listener.close()
            for task in self._servers:
                task.cancel()
            for pair in self.pairs.values():
                for end in (pair.client, pair.accepted):
                    if end and end.sock.fileno() >= 0:
                        end.reset()

    def client(self) -> Pair:
        """A client that has not connected yet."""
        port = next(self._ports)
        sock = self._sockets.client(self._client, self._family)
        original = self.place.original(port, self._selected)
        client = Client(sock, _start(2 * port), (self.place.source, port), original)
        self.pairs[port] = Pair(client)
        return self.pairs[port]

    async def _connection(self, number: int, turn: asyncio.Semaphore) -> None:
        async with turn:
            pair = self.client()
            try:
                if self.load.connects:
                    await pair.client.connect()
                await self.load.client(pair.client)
            except Lost:
                pass
            if pair.client.sock.fileno() >= 0:
                pair.client.close()

    async def _accept(self, listener: Socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, peer = await loop.sock_accept(listener)
            pair = self.pairs.get(peer[1])
            if pair is None or pair.accepted:
                self.unexpected.append(f"{peer[:2]}{' again' if pair else ''}")
                sock.close()
                continue
            sock.setblocking(False)
            pair.accepted = Accepted(
                sock, _start(2 * peer[1] + 1), peer[:2], self.injector.decoder()
            )
            self._servers.append(asyncio.ensure_future(self._serve(pair, pair.accepted)))

    async def _serve(self, pair: Pair, end: Accepted) -> None:
        try:
            await self.load.server(end)
        except Lost:
            pass
        except Exception as e:  # any error of a decoder fails this connection
            pair.errors.append(f"{type(e).__name__}: {e}")
            end.reset()
            return
        end.close()


def _start(serial: int) -> int:
    return serial * 15_485_863 % (len(POOL) - LONGEST)

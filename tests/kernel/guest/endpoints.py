# SPDX-License-Identifier: MIT
"""The two endpoints of a TCP connection. They record what they sent and received, and the end.

All payload is a piece of one random pool, so that two numbers say what should arrive. A connection
ends with `eof`, or the name of the errno of a call; `closed` and `reset` mean that this endpoint
did it.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import random
import struct
from hashlib import sha256
from socket import MSG_PEEK, SHUT_WR, SO_ERROR, SO_LINGER, SO_REUSEADDR, SOL_SOCKET
from socket import socket as Socket

from .decoders import Decoder
from .places import Address

POOL = memoryview(random.Random(61).randbytes(23 << 20))
"""Each connection's payload begins at another place of it, so that no two are equal."""

READS = (1, 7, 8, 9, 3, 28, 1, 52, 1448, 100, 16, 65536, 2, 4096, 1449, 8, 262144)
"""Sizes of the listener's first reads: they split headers, and join many frames."""

LATER_READS = (262144, 1447, 65536)


class Lost(Exception):
    """The connection ended before the conversation did; the endpoint's `ended` says how."""


async def readable(sock: Socket) -> None:
    """Waits until a read would not block."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sock, ready.set)
    try:
        await ready.wait()
    finally:
        if sock.fileno() >= 0:  # forget() may have woken us for a closed socket
            loop.remove_reader(sock)


async def writable(sock: Socket) -> None:
    """Waits until a write would not block, or a connection attempt has ended."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_writer(sock, ready.set)
    try:
        await ready.wait()
    finally:
        if sock.fileno() >= 0:  # forget() may have woken us for a closed socket
            loop.remove_writer(sock)


def forget(sock: Socket) -> None:
    """Call it before closing a socket that a task may be waiting for. A new socket may soon have
    the same descriptor number, and would get the waiters that the loop keeps under that number.
    """
    if sock.fileno() >= 0:
        loop = asyncio.get_running_loop()
        loop.remove_reader(sock)
        loop.remove_writer(sock)


class Endpoint:
    """The base of both endpoints. `start` is the place in the pool where its payload begins."""

    def __init__(self, sock: Socket, start: int) -> None:
        self.sock = sock
        self.start = start
        self.sent = 0
        self.received = bytearray()
        self._taken = 0  # bytes of `received` that receive() has used
        self.ended = ""
        self._loop = asyncio.get_running_loop()

    async def send(self, size: int) -> None:
        """Sends the next `size` bytes of the pool."""
        at = self.start + self.sent
        self.sent += size
        try:
            await self._loop.sock_sendall(self.sock, POOL[at : at + size])
        except OSError as e:
            self._end(e)

    async def receive(self, size: int) -> None:
        """Waits for the next `size` bytes."""
        self._taken += size
        while len(self.received) < self._taken:
            if not await self._read(self._taken - len(self.received)):
                raise Lost(f"{self.ended} after {len(self.received)} of {self._taken} bytes")

    async def until_end(self) -> None:
        """Reads until the connection ends, and records how."""
        try:
            while await self._read(1 << 18):
                pass
        except Lost:
            pass

    async def _read(self, size: int) -> bool:
        try:
            data = await self._recv(self._size(size))
        except OSError as e:
            self._end(e)
        if not data:
            self.ended = self.ended or "eof"
            self._eof()
            return False
        self.received += self._payload(data)
        return True

    async def _recv(self, size: int, flags: int = 0) -> bytes:
        while True:
            try:
                return self.sock.recv(size, flags)
            except BlockingIOError:
                await readable(self.sock)

    def _size(self, wanted: int) -> int:
        return wanted

    def _payload(self, data: bytes) -> bytes:
        return data

    def _eof(self) -> None:
        pass

    def _end(self, error: OSError) -> None:
        self.ended = errno.errorcode.get(error.errno or 0, str(error))
        raise Lost(self.ended) from error

    def finish(self) -> None:
        """Sends a FIN; the other direction stays open."""
        try:
            self.sock.shutdown(SHUT_WR)
        except OSError as e:
            self._end(e)

    def close(self) -> None:
        self.ended = self.ended or "closed"
        forget(self.sock)
        self.sock.close()

    def reset(self) -> None:
        """Closes with an RST."""
        self.ended = self.ended or "reset"
        self.sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        forget(self.sock)
        self.sock.close()

    def digest(self) -> str:
        """sha256 of the received bytes."""
        return sha256(self.received).hexdigest()

    def sent_digest(self) -> str:
        """sha256 of the sent bytes."""
        return sha256(POOL[self.start : self.start + self.sent]).hexdigest()


class Client(Endpoint):
    """The endpoint that connects, from the given port."""

    def __init__(self, sock: Socket, start: int, source: Address, original: Address) -> None:
        super().__init__(sock, start)
        self.source = source
        self.original = original
        self.connected = False
        sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        sock.bind(source)

    async def connect(self) -> None:
        """Connects to the original destination."""
        # Not the loop's sock_connect(), which refuses MPTCP's protocol number.
        try:
            self.sock.connect(self.original)
        except BlockingIOError:
            await writable(self.sock)
        except OSError as e:
            self._end(e)
        error = self.sock.getsockopt(SOL_SOCKET, SO_ERROR)
        if error:
            self._end(OSError(error, os.strerror(error)))
        self.connected = True


class Accepted(Endpoint):
    """The listener's endpoint, which decodes the origin and reads in the sizes of READS."""

    def __init__(self, sock: Socket, start: int, peer: Address, decoder: Decoder) -> None:
        super().__init__(sock, start)
        self.decoder = decoder
        # From accept(), because getpeername() fails on a connection that was reset.
        self.peer = peer
        self.local: Address = sock.getsockname()[:2]
        self._sizes = itertools.chain(READS, itertools.cycle(LATER_READS))
        self._peeked = not decoder.peeks
        self.split_header = b""
        """The first read's bytes, when they were not a whole header."""

    async def origin(self) -> None:
        """Reads until the decoder knows the destination, if it can know it without payload."""
        while self.decoder.destination is None:
            if not await self._read(0):
                raise Lost(f"{self.ended} before the header")

    def _size(self, wanted: int) -> int:
        return next(self._sizes)

    def _payload(self, data: bytes) -> bytes:
        return self.decoder.feed(data)

    def _eof(self) -> None:
        self.decoder.eof()

    async def _recv(self, size: int, flags: int = 0) -> bytes:
        if not self._peeked:
            self._peeked = True
            seen = await super()._recv(1 << 16, MSG_PEEK)
            if seen and not self.decoder.peek(seen):
                self.split_header = seen
        return await super()._recv(size, flags)

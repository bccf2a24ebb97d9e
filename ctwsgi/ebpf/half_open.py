# SPDX-License-Identifier: MIT
"""Connections that are being opened when the program goes: they are reset, on both sides.

The server holds a place for a header that nobody would write any more, and the client's next bytes
would not fit its numbers, or worse, would be made to fit. The server is sent an RST in the client's
name, which leaves by the device; the client one in the server's, from where it had dialled.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum

from ..errors import OriginError
from ..origin import Address
from ..wire import proxy
from ..wire.address import host_text, pack_host
from .libbpf import Map

_KEY = struct.Struct("=16s16s2s2sI")
_FLOW = struct.Struct("=4x2B2x5B3x7I")
"""`struct flow_key`, and the beginning of `struct flow`; kmod/bpf/flow.h asserts that it is so."""

_HEADER = 80
"""The last bytes of `struct flow`."""

_RST, _ACK = 4, 16


class Phase(IntEnum):
    """`enum phase`."""

    NONE = 0
    SYN = 1
    OPEN = 2
    PROVEN = 3


@dataclass(frozen=True)
class Opening:
    """A connection whose server has not acknowledged the header."""

    server: Address
    client: Address
    """As packets on the device name them."""
    source: Address
    destination: Address
    """The same, as the client does."""
    phase: Phase
    room: int
    """The header's length."""
    first: int
    """Number of the client's first byte; in SYN what the latest SYN wants it to be."""
    acked: int
    """What the client wants next of the server's bytes, when that is known."""


def unpack(key: bytes, value: bytes) -> Opening | None:
    """Of an entry of the table; None when its header has arrived, it was never filled in, or
    conntrack has forgotten the connection, and nobody waits for it."""
    phase, room, *flags, first, latest, _, server_first, _, _, acked = _FLOW.unpack_from(value)
    _, heard, _, _, ended = flags
    if ended or phase not in (Phase.SYN, Phase.OPEN):
        return None
    server, client, server_port, client_port, version = _KEY.unpack(key)
    with suppress(OriginError):
        found = proxy.decode(value[-_HEADER:][:room], versions=(2,))
        if found and found[0].src and found[0].dst:
            size = 4 if version == 4 else 16
            return Opening(
                (host_text(server[:size]), int.from_bytes(server_port, "big")),
                (host_text(client[:size]), int.from_bytes(client_port, "big")),
                found[0].src,
                found[0].dst,
                Phase(phase),
                room,
                first if phase == Phase.OPEN else latest,
                acked if heard else server_first,
            )
    return None


def openings(flows: Map) -> Iterator[Opening]:
    """All that are in the table, while others come and go."""
    for key in flows:
        with suppress(KeyError):
            if found := unpack(key, flows.get(key)):
                yield found


class Resetter:
    """Raw sockets for the RSTs. A context manager."""

    def __init__(self, device: str) -> None:
        """`device` leads to the servers."""
        self._device = device
        self._sockets: dict[tuple[int, bool], socket.socket] = {}

    def __enter__(self) -> Resetter:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._sockets.values():
            sock.close()

    def reset(self, opening: Opening) -> None:
        """Ends it. OSError when a packet filter or a route keeps one of the RSTs from leaving."""
        if opening.phase is Phase.OPEN:
            # The program, which is still there, makes two of it, one for a server without header.
            self._send(opening.client, opening.server, opening.first, True)
            self._send(opening.destination, opening.source, opening.acked, False, opening.first)
        else:
            self._send(opening.client, opening.server, opening.first - opening.room, True)
            self._send(opening.destination, opening.source, 0, False, opening.first)

    def _send(
        self, source: Address, to: Address, seq: int, to_server: bool, ack: int | None = None
    ) -> None:
        packet = _rst(source, to, seq % 2**32, ack)
        self._socket(socket.AF_INET6 if ":" in to[0] else socket.AF_INET, to_server).sendto(
            packet, (to[0], 0)
        )

    def _socket(self, family: int, to_server: bool) -> socket.socket:
        if (family, to_server) not in self._sockets:
            sock = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
            if to_server:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._device.encode())
            self._sockets[family, to_server] = sock
        return self._sockets[family, to_server]


def _rst(source: Address, to: Address, seq: int, ack: int | None) -> bytes:
    """The packet. The kernel sees to IPv4's length and checksum."""
    hosts = pack_host(source[0]) + pack_host(to[0])
    flags = _RST if ack is None else _RST | _ACK
    head = struct.pack("!HHIIBB", source[1], to[1], seq, ack or 0, 5 << 4, flags)
    pseudo = hosts + struct.pack("!II", len(head) + 6, socket.IPPROTO_TCP)
    tcp = head + struct.pack("!HHH", 0, _checksum(pseudo + head + bytes(6)), 0)
    if len(hosts) == 8:
        ip = struct.pack("!BxHxxxxBBxx", 0x45, 20 + len(tcp), 64, socket.IPPROTO_TCP)
    else:
        ip = struct.pack("!IHBB", 6 << 28, len(tcp), socket.IPPROTO_TCP, 64)
    return ip + hosts + tcp


def _checksum(data: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF

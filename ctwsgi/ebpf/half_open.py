# SPDX-License-Identifier: MIT
"""Reset connections whose server still lacks the header when the program is detached.

Such a server expects sequence numbers below the client's first byte, and without the program nobody
sends them. The server gets an RST in the client's name, which leaves by the program's device. The
client gets an RST in the name of the destination that it dialled.
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
"""`struct flow_key`, and the start of `struct flow`; kmod/bpf/flow.h asserts the offsets."""

_HEADER = 104
"""Size of `header`, the last member of `struct flow`."""

_RST, _ACK = 4, 16


class Phase(IntEnum):
    """`enum phase` of kmod/bpf/flow.h."""

    NONE = 0
    SYN = 1
    OPEN = 2
    PROVEN = 3


@dataclass(frozen=True)
class HalfOpen:
    """A connection whose server has not acknowledged the header."""

    server: Address
    client: Address
    """`server` and `client` are the addresses of packets on the device, after translation."""
    source: Address
    destination: Address
    """`source` and `destination` are the addresses that the client uses, before translation."""
    phase: Phase
    header_len: int
    first: int
    """Sequence number of the client's first byte; in phase SYN according to the latest SYN."""
    acked: int
    """Sequence number of the server's byte that the client expects next. Not used in phase SYN."""


def unpack(key: bytes, value: bytes) -> HalfOpen | None:
    """The half-open connection of a table entry. None when the header has arrived, the entry is
    still blank, or conntrack has no entry for the connection any more."""
    phase, header_len, *flags, first, latest, _, server_first, _, _, acked = _FLOW.unpack_from(
        value
    )
    _, heard, _, _, ended = flags
    if ended or phase not in (Phase.SYN, Phase.OPEN):
        return None
    server, client, server_port, client_port, version = _KEY.unpack(key)
    with suppress(OriginError):
        found = proxy.decode(value[-_HEADER:][:header_len], versions=(2,))
        if found and found[0].src and found[0].dst:
            size = 4 if version == 4 else 16
            return HalfOpen(
                (host_text(server[:size]), int.from_bytes(server_port, "big")),
                (host_text(client[:size]), int.from_bytes(client_port, "big")),
                found[0].src,
                found[0].dst,
                Phase(phase),
                header_len,
                first if phase == Phase.OPEN else latest,
                acked if heard else server_first,
            )
    return None


def half_open_connections(flows: Map) -> Iterator[HalfOpen]:
    """All half-open connections of the table, which changes meanwhile."""
    for key in flows:
        with suppress(KeyError):
            if found := unpack(key, flows.get(key)):
                yield found


class Resetter:
    """Sends RSTs from raw sockets. A context manager; `device` leads to the servers.

    `doubled`: the egress program is attached, and sends an RST to a server with both numbers that
    can be right.
    """

    def __init__(self, device: str, doubled: bool = True) -> None:
        self._device = device
        self._doubled = doubled
        self._sockets: dict[tuple[int, bool], socket.socket] = {}

    def __enter__(self) -> Resetter:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._sockets.values():
            sock.close()

    def reset(self, found: HalfOpen) -> None:
        """Reset both sides. OSError when a packet filter or a route stops one of the RSTs."""
        if found.phase is Phase.OPEN:
            self._send(found.client, found.server, found.first, True)
            if not self._doubled:
                self._send(found.client, found.server, found.first - found.header_len, True)
            self._send(found.destination, found.source, found.acked, False, found.first)
        else:
            self._send(found.client, found.server, found.first - found.header_len, True)
            self._send(found.destination, found.source, 0, False, found.first)

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
    """An RST with its IP header. The kernel fills in length and checksum of IPv4's."""
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
    """The checksum of RFC 1071 over an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF

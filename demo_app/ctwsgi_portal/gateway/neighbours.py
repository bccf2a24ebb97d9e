# SPDX-License-Identifier: MIT
"""The neighbour table (ARP and IPv6 neighbour discovery): which device has which address.

Only the gateway has it; a portal on another machine sees addresses alone.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Collection, Iterable, Iterator

from . import netlink

_NEWNEIGH, _GETNEIGH = 28, 30  # linux/rtnetlink.h
_NDMSG = struct.Struct("=BxxxiHBB")  # family, interface, state, flags, type (linux/neighbour.h)
_DST, _LLADDR = 1, 2
_UNKNOWN = 0x01 | 0x20 | 0x40  # NUD_INCOMPLETE, NUD_FAILED, NUD_NOARP
_MOMENT = 0.2
"""Seconds."""
_PATIENCE = 5.0
"""Seconds. The kernel answers at once."""


class Neighbours:
    """One reading of the table, towards the clients."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._mac: dict[str, str] = {}
        self._addresses: dict[str, list[str]] = {}
        for address, mac in pairs:
            self._mac[address] = mac
            self._addresses.setdefault(mac, []).append(address)

    def mac(self, address: str) -> str | None:
        """Lower case; None when the address is no neighbour: behind a router, or not heard of."""
        return self._mac.get(address)

    def pairs(self) -> Iterable[tuple[str, str]]:
        """(address, MAC) of every neighbour."""
        return self._mac.items()

    def addresses(self, mac: str) -> list[str]:
        """All of a device, without link-local ones, which are never forwarded."""
        return self._addresses.get(mac, [])


class Recent:
    """The table as it was a moment ago: reading thousands before each change takes too long.

    Of one thread at a time. An address is in the table long before its client is granted.
    """

    def __init__(self, interfaces: Collection[str]) -> None:
        self._interfaces = interfaces
        self._table = Neighbours(())
        self._read_at = float("-inf")

    def get(self) -> Neighbours:
        """At most `_MOMENT` old. OSError."""
        if time.monotonic() > self._read_at + _MOMENT:
            self._table = read(self._interfaces)
            self._read_at = time.monotonic()
        return self._table


def read(interfaces: Collection[str]) -> Neighbours:
    """The table of these interfaces, as the kernel has it now. OSError when it will not tell.

    Over rtnetlink(7), not by the ip tool: it is asked before changes of the filter.
    """
    inside = {index for name in interfaces if (index := _index(name))}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.settimeout(_PATIENCE)
        body = _NDMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        sock.send(netlink.message(_GETNEIGH, netlink.DUMP, 1, body))
        return Neighbours(_entries(sock, inside))


def _entries(sock: socket.socket, inside: Collection[int]) -> Iterator[tuple[str, str]]:
    while True:
        for kind, payload in netlink.messages(sock.recv(1 << 18)):
            if kind == netlink.DONE:
                return
            if kind == netlink.ERROR:
                raise OSError(netlink.error(payload), "the neighbour table")
            family, index, state, *_ = _NDMSG.unpack_from(payload)
            if kind == _NEWNEIGH and index in inside and not state & _UNKNOWN:
                found = dict(netlink.attributes(payload[_NDMSG.size :]))
                address, mac = found.get(_DST, b""), found.get(_LLADDR, b"")
                if len(mac) == 6 and not (family == socket.AF_INET6 and address[:2] == b"\xfe\x80"):
                    yield socket.inet_ntop(family, address), mac.hex(":")


def _index(name: str) -> int:
    """0 for one that is not there now: it may come."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0

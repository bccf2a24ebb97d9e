# SPDX-License-Identifier: MIT
"""The neighbour table (ARP and IPv6 neighbour discovery): the device of each address.

Only the gateway has it; a portal on another machine sees addresses only.
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
"""Seconds for which a reading is used again."""
_PATIENCE = 5.0
"""Seconds until a missing answer of the kernel is an error."""


class Neighbours:
    """One reading of the table, for the clients' interfaces."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._mac: dict[str, str] = {}
        self._addresses: dict[str, list[str]] = {}
        for address, mac in pairs:
            self._mac[address] = mac
            self._addresses.setdefault(mac, []).append(address)

    def mac(self, address: str) -> str | None:
        """In lower case; None when the address is behind a router or unknown."""
        return self._mac.get(address)

    def pairs(self) -> Iterable[tuple[str, str]]:
        """(address, MAC) of every neighbour."""
        return self._mac.items()

    def addresses(self, mac: str) -> list[str]:
        """All addresses of a device, except link-local ones, which are not forwarded."""
        return self._addresses.get(mac, [])


class Recent:
    """A reading that is at most _MOMENT old: to read thousands before each change takes too long.

    An older reading suffices, because an address is in the table long before its client is granted.
    One thread at a time may use it.
    """

    def __init__(self, interfaces: Collection[str]) -> None:
        self._interfaces = interfaces
        self._table = Neighbours(())
        self._read_at = float("-inf")

    def get(self) -> Neighbours:
        """The reading. May raise OSError."""
        if time.monotonic() > self._read_at + _MOMENT:
            self._table = read(self._interfaces)
            self._read_at = time.monotonic()
        return self._table


def read(interfaces: Collection[str]) -> Neighbours:
    """Reads the table of these interfaces. OSError when the kernel refuses.

    It uses rtnetlink(7), because the ip tool is too slow before each change of the filter.
    """
    wanted = {index for name in interfaces if (index := _index(name))}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.settimeout(_PATIENCE)
        body = _NDMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        sock.send(netlink.message(_GETNEIGH, netlink.DUMP, 1, body))
        return Neighbours(_entries(sock, wanted))


def _entries(sock: socket.socket, interfaces: Collection[int]) -> Iterator[tuple[str, str]]:
    while True:
        for kind, payload in netlink.messages(sock.recv(1 << 18)):
            if kind == netlink.DONE:
                return
            if kind == netlink.ERROR:
                raise OSError(netlink.error(payload), "the neighbour table")
            family, index, state, *_ = _NDMSG.unpack_from(payload)
            if kind == _NEWNEIGH and index in interfaces and not state & _UNKNOWN:
                found = dict(netlink.attributes(payload[_NDMSG.size :]))
                address, mac = found.get(_DST, b""), found.get(_LLADDR, b"")
                if len(mac) == 6 and not (family == socket.AF_INET6 and address[:2] == b"\xfe\x80"):
                    yield socket.inet_ntop(family, address), mac.hex(":")


def _index(name: str) -> int:
    """The index of an interface; 0 while it does not exist."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0

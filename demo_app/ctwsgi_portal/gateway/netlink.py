# SPDX-License-Identifier: MIT
"""Writes and reads netlink messages and their attributes (linux/netlink.h)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

HEADER = struct.Struct("=LHHLL")
"""struct nlmsghdr: length with the header, type, flags, sequence, port."""
ERROR, DONE = 2, 3
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
NESTED = 0x8000
"""Flag in the type of an attribute that consists of attributes."""

NETLINK_NETFILTER = 12
"""The protocol of nfnetlink (linux/netfilter/nfnetlink.h), whose message types are subsystem << 8 |
message."""
NFGENMSG = struct.Struct("=BBH")
"""struct nfgenmsg, the beginning of an nfnetlink payload: family, version, resource id."""
NFNL_SUBSYS_NFTABLES = 10
NFNLGRP_NFTABLES = 7
"""The group in which the kernel announces changes of the packet filter."""

_ATTRIBUTE = struct.Struct("=HH")
_CODE = struct.Struct("=i")


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """A request with its header."""
    return HEADER.pack(HEADER.size + len(body), kind, REQUEST | flags, sequence, 0) + body


def attribute(kind: int, payload: bytes) -> bytes:
    """An attribute with its header and padding."""
    head = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(payload), kind)
    return head + payload + bytes(-len(payload) % 4)


def error(payload: bytes) -> int:
    """The errno in an ERROR message; 0 is an acknowledgement."""
    (code,) = _CODE.unpack_from(payload)
    return -int(code)


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, payload) of each message in a datagram."""
    while len(data) >= HEADER.size:
        length, kind, *_ = HEADER.unpack_from(data)
        if length < HEADER.size:
            return
        yield kind, data[HEADER.size : length]
        data = data[length + 3 & ~3 :]


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type without its flags, payload) of each attribute."""
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[_ATTRIBUTE.size : length]
        data = data[length + 3 & ~3 :]

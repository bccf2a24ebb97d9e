"""The grammar of netlink: messages in a datagram, attributes in a message (linux/netlink.h)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

HEADER = struct.Struct("=LHHLL")
"""struct nlmsghdr: length with the header, type, flags, sequence, port."""
ERROR, DONE = 2, 3
REQUEST, DUMP = 0x1, 0x300

_ATTRIBUTE = struct.Struct("=HH")


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, payload) of each."""
    while len(data) >= HEADER.size:
        length, kind, *_ = HEADER.unpack_from(data)
        if length < HEADER.size:
            return
        yield kind, data[HEADER.size : length]
        data = data[length + 3 & ~3 :]


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, payload) of each; the type without its flags."""
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[_ATTRIBUTE.size : length]
        data = data[length + 3 & ~3 :]

# SPDX-License-Identifier: MIT
"""Reads the packet filter's sets from the kernel in slices, and single elements.

It uses nfnetlink's NFT_MSG_GETSETELEM (linux/netfilter/nf_tables.h, nfnetlink.h). The nft tool
starts again at every change that comes in between, and never ends beside a hundred grants a second
(1.0.6). Here a change may only hide an element from one reading, so the caller has to ask for
missing elements with one(). 100,000 elements take half a second.
"""

from __future__ import annotations

import errno
import math
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from . import netlink
from .elements import Element
from .netlink import NESTED, NETLINK_NETFILTER, NFGENMSG, NFNL_SUBSYS_NFTABLES, attribute
from .nft import Counted, NftError, TableGone
from .ruleset import TABLE

Rows = dict[Element, Counted]

_SUBSYSTEM = NFNL_SUBSYS_NFTABLES << 8
_NEW, _GET = 12, 13  # NFT_MSG_NEWSETELEM, NFT_MSG_GETSETELEM
_INET = 1  # NFPROTO_INET
_TABLE, _SET, _ELEMENTS = 1, 2, 3  # NFTA_SET_ELEM_LIST_*
_ELEMENT, _KEY, _VALUE = 1, 1, 1  # NFTA_LIST_ELEM, NFTA_SET_ELEM_KEY, NFTA_DATA_VALUE
_TIMEOUT, _EXPIRATION, _EXPRESSION = 4, 5, 7  # NFTA_SET_ELEM_*
_DATA = 2  # NFTA_EXPR_DATA
_BYTES, _PACKETS = 1, 2  # NFTA_COUNTER_*
_HEAD = struct.Struct("=HH")
_LONGEST = 1 << 16
"""Bytes; the kernel's datagrams are shorter."""
_PATIENCE = 5.0


class Sets:
    """A socket to the kernel for one thread. The methods may raise OSError and TableGone."""

    def __init__(self) -> None:
        self._sequence = 0
        self._layouts: dict[int, _Layout] = {}
        self._open()

    def _open(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self._socket.settimeout(_PATIENCE)

    def read(self, name: str) -> Iterator[Rows]:
        """All elements of a set, in slices of some hundred."""
        complete = False
        try:
            self._ask(name, b"", netlink.DUMP)
            while not complete:
                data, now = self._socket.recv(_LONGEST), time.time()
                for kind, payload in self._answers(data):
                    complete = kind == netlink.DONE
                    if not complete:
                        yield self._rows(name, payload, now)
        finally:
            if not complete:
                # The rest of the answer would be taken for the next one.
                self.close()
                self._open()

    def one(self, element: Element) -> Counted | None:
        """An element, read now; None when it is not there."""
        name, key = element
        value = attribute(_KEY | NESTED, attribute(_VALUE, _packed(key)))
        wanted = attribute(_ELEMENT | NESTED, value)
        try:
            self._ask(name, attribute(_ELEMENTS | NESTED, wanted), 0)
            for _, payload in self._answers(self._socket.recv(_LONGEST)):
                return self._rows(name, payload, time.time()).get(element)
        except TableGone:
            pass
        except OSError:
            self.close()
            self._open()
            raise
        return None

    def close(self) -> None:
        self._socket.close()

    def _ask(self, name: str, elements: bytes, flags: int) -> None:
        self._sequence += 1
        body = NFGENMSG.pack(_INET, 0, 0)
        body += attribute(_TABLE, TABLE.encode() + b"\0")
        body += attribute(_SET, name.encode() + b"\0") + elements
        self._socket.send(netlink.message(_SUBSYSTEM | _GET, flags, self._sequence, body))

    def _answers(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        for kind, payload in netlink.messages(data):
            if kind == netlink.ERROR:
                code = netlink.error(payload)
                if code == errno.ENOENT:
                    raise TableGone("the kernel has no such set or element")
                raise NftError(f"the kernel refuses to list elements: {errno.errorcode[code]}")
            if kind in (netlink.DONE, _SUBSYSTEM | _NEW):
                yield kind, payload

    def _rows(self, name: str, payload: bytes, now: float) -> Rows:
        found: Rows = {}
        for kind, elements in netlink.attributes(payload[NFGENMSG.size :]):
            if kind == _ELEMENTS:
                for key, milliseconds, count in self._elements(elements):
                    ends_at = math.inf if milliseconds is None else now + milliseconds / 1000
                    found[name, _shown(key)] = Counted(ends_at, count)
        return found

    def _elements(self, data: bytes) -> Iterator[tuple[bytes, int | None, int]]:
        """(key, milliseconds left, bytes) of each. Nearly all elements have the same layout, so it
        is learned from the first.
        """
        place = 0
        while place + _HEAD.size <= len(data):
            length, _ = _HEAD.unpack_from(data, place)
            if length < _HEAD.size:
                return
            layout = self._layouts.get(length)
            if layout is None or layout.heads.unpack_from(data, place) != layout.expected:
                layout = self._layouts[length] = _learn(data[place : place + length])
            yield layout.of(layout.values.unpack_from(data, place))
            place += length + 3 & ~3


@dataclass(frozen=True)
class _Layout:
    """The places of the values in an element. All other bytes must be the `expected` ones."""

    heads: struct.Struct
    expected: tuple[bytes, ...]
    values: struct.Struct
    key: int
    left: int | None
    count: int | None

    def of(self, values: tuple[bytes, ...]) -> tuple[bytes, int | None, int]:
        left = None if self.left is None else int.from_bytes(values[self.left], "big")
        count = 0 if self.count is None else int.from_bytes(values[self.count], "big")
        return values[self.key], left, count


def _learn(element: bytes) -> _Layout:
    spans = sorted(_spans(element, _HEAD.size, ()))
    heads = values = "="
    end = 0
    for start, stop, _ in spans:
        heads += f"{start - end}s{stop - start}x"
        values += f"{start - end}x{stop - start}s"
        end = stop
    heads += f"{len(element) - end}s"
    place = {path: number for number, (_, _, path) in enumerate(spans)}
    made = struct.Struct(heads)
    return _Layout(
        made,
        made.unpack_from(element),
        struct.Struct(values),
        place[_KEY, _VALUE],
        place.get((_EXPIRATION,)),
        place.get((_EXPRESSION, _DATA, _BYTES)),
    )


_NESTS = {(_KEY,), (_EXPRESSION,), (_EXPRESSION, _DATA)}
_VALUES = {
    *((_KEY, _VALUE), (_TIMEOUT,), (_EXPIRATION,)),
    *((_EXPRESSION, _DATA, _BYTES), (_EXPRESSION, _DATA, _PACKETS)),
}


def _spans(
    data: bytes, place: int, path: tuple[int, ...]
) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """(start, stop, path) of the values among an element's attributes."""
    while place + _HEAD.size <= len(data):
        length, kind = _HEAD.unpack_from(data, place)
        if length < _HEAD.size:
            return
        start, stop, here = place + _HEAD.size, place + length, (*path, kind & 0x3FFF)
        if here in _NESTS:
            yield from _spans(data[:stop], start, here)
        elif here in _VALUES:
            yield start, stop, here
        place += length + 3 & ~3


def _packed(key: str) -> bytes:
    """A MAC address has 17 characters and five colons; an IPv6 address of this form does not exist
    in inet_ntop()'s spelling.
    """
    if len(key) == 17 and key.count(":") == 5:
        return bytes.fromhex(key.replace(":", ""))
    return socket.inet_pton(socket.AF_INET6 if ":" in key else socket.AF_INET, key)


def _shown(key: bytes) -> str:
    if len(key) == 6:
        return key.hex(":")
    return socket.inet_ntop(socket.AF_INET if len(key) == 4 else socket.AF_INET6, key)

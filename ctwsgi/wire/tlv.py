# SPDX-License-Identifier: MIT
"""The type-length-value list behind a PROXY v2 header's addresses (proxy-protocol.txt, 2.2).

Type u8, length u16 network order, value. Unknown types are kept, and a list within a value (TLV
0x20, SSL) is not parsed.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from struct import error as struct_error

from ..errors import OriginError, Reason

CRC32C = 0x03
"""Checksum over the whole header, its own four bytes taken as zero."""

AUTH = 0xE7
"""Our authentication tag, in the range for custom use."""

TRANSLATED_SOURCE = 0xE8
"""The client's address and port as NAT left them, if it changed them; see translated.py."""

Tlvs = tuple[tuple[int, bytes], ...]
"""(type, value) pairs, in their order on the wire."""

_HEAD = Struct("!BH")


def parse(raw: bytes) -> Tlvs:
    """Parses all of `raw`; OriginError (BAD_TLV) when an entry reaches past its end."""
    tlvs = []
    at, end = 0, len(raw)
    while at < end:
        if end - at < _HEAD.size:
            raise OriginError(Reason.BAD_TLV, "the header ends inside a TLV's type and length")
        kind, length = _HEAD.unpack_from(raw, at)
        at += _HEAD.size
        if length > end - at:
            raise OriginError(Reason.BAD_TLV, f"type 0x{kind:02x} reaches past the header's end")
        tlvs.append((kind, raw[at : at + length]))
        at += length
    return tuple(tlvs)


def encode(tlvs: Iterable[tuple[int, bytes]]) -> bytes:
    """Encodes `tlvs`; ValueError when a type or a length does not fit its field."""
    try:
        return b"".join(_HEAD.pack(kind, len(value)) + value for kind, value in tlvs)
    except struct_error as e:
        raise ValueError(f"a TLV's type is 0..255, its value at most 65535 bytes: {e}") from None


def value_spans(tlvs: Tlvs, kind: int, start: int) -> list[slice]:
    """Where the values of type `kind` are in a header whose first TLV is at `start`."""
    spans = []
    for each, value in tlvs:
        start += _HEAD.size
        if each == kind:
            spans.append(slice(start, start + len(value)))
        start += len(value)
    return spans

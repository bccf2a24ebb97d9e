# SPDX-License-Identifier: MIT
"""PROXY protocol version 1, the text line (haproxy's proxy-protocol.txt, 2.1).

    line    = "PROXY " ( tcp / "UNKNOWN" [ " " *any ] ) CRLF        ; at most 107 bytes in all
    tcp     = ( "TCP4" / "TCP6" ) " " source " " destination " " port " " port
    port    = "0" / ( %x31-39 *4DIGIT )                             ; 0..65535

The decoder returns header and length, raises OriginError, or returns None while the line has no
end. It reads the addresses when the CRLF has arrived, as the specification demands. It refuses
earlier a byte that no line can hold, and a line that cannot end within 107 bytes any more.
"""

from __future__ import annotations

import re
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from ..errors import OriginError, Reason
from ..origin import Address
from .address import host_text, pack_pair
from .header import Command, Header, Transport

MAX_LINE = 107
"""Bytes, CRLF included."""

SIGNATURE = b"PROXY "

_TCP4, _TCP6, _UNKNOWN = b"TCP4 ", b"TCP6 ", b"UNKNOWN"
_FAMILIES = {_TCP4: AF_INET, _TCP6: AF_INET6}
_ALPHABETS = {_TCP4: b"0123456789. ", _TCP6: b"0123456789abcdefABCDEF:. "}
_FIELDS = re.compile(rb"([^ ]+) ([^ ]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})")


def decode_v1(
    data: bytes | bytearray | memoryview, max_size: int, transport: Transport, *, keyed: bool
) -> tuple[Header, int] | None:
    """As proxy.decode; `data` begins with a P. `keyed` refuses v1, which cannot be signed."""
    limit = min(MAX_LINE, max_size)
    start = bytes(data[:limit])
    if not SIGNATURE.startswith(start[:6]):
        raise OriginError(Reason.NO_HEADER)
    word = _protocol(start[6:])
    if word and keyed:
        raise OriginError(Reason.AUTH_UNKNOWN if word is _UNKNOWN else Reason.AUTH_V1)
    line, ended, _ = start.partition(b"\r\n")
    if not ended:
        # A CR at the end may be the first half of the CRLF. The last byte of the limit is an LF.
        line = line[: limit - 1].removesuffix(b"\r")
    fields = line[6 + len(word) :]
    _refuse_bytes(word, fields)
    if len(line) + 2 > limit:
        raise OriginError(Reason.HEADER_TOO_LONG, f"no CRLF within {limit} bytes")
    if not ended:
        if len(start) == limit:
            raise OriginError(Reason.BAD_V1, "a CR alone")
        return None
    src, dst = _addresses(word, fields)
    if transport is not Transport.STREAM:
        src = dst = None
    return Header(1, Command.PROXY, src, dst), len(line) + 2


def _protocol(rest: bytes) -> bytes:
    """The protocol with the space behind it; empty while it is incomplete."""
    for word in (_TCP4, _TCP6, _UNKNOWN):
        if rest.startswith(word):
            return word
    if any(word.startswith(rest) for word in (_TCP4, _TCP6, _UNKNOWN)):
        return b""
    raise OriginError(Reason.BAD_V1, "the protocol is none of TCP4, TCP6, UNKNOWN")


def _refuse_bytes(word: bytes, rest: bytes) -> None:
    """Refuses bytes that no line of this protocol can hold, such as a bare CR or LF."""
    if word is _UNKNOWN:
        if rest[:1] not in (b"", b" "):
            raise OriginError(Reason.BAD_V1, "UNKNOWN is followed by neither a space nor CRLF")
        if b"\r" in rest or b"\n" in rest:
            raise OriginError(Reason.BAD_V1, "a CR or LF alone")
    elif word and rest.translate(None, _ALPHABETS[word]):
        raise OriginError(Reason.BAD_V1, "a byte that no address or port can hold")


def _addresses(word: bytes, line: bytes) -> tuple[Address, Address] | tuple[None, None]:
    if word is _UNKNOWN:
        return None, None
    fields = _FIELDS.fullmatch(line)
    if not fields:
        raise OriginError(Reason.BAD_V1, "not two addresses and two ports, one space apart")
    family = _FAMILIES[word]
    try:
        src, dst = (host_text(inet_pton(family, fields[i].decode("ascii"))) for i in (1, 2))
    except OSError:
        raise OriginError(Reason.BAD_V1, "an address is not one of its family") from None
    sport, dport = int(fields[3]), int(fields[4])
    if sport > 65535 or dport > 65535:
        raise OriginError(Reason.BAD_V1, "a port is over 65535")
    return (src, sport), (dst, dport)


def encode_v1(src: Address | None, dst: Address | None) -> bytes:
    """The line, CRLF included; UNKNOWN when an address is None. ValueError for a bad address."""
    if src is None or dst is None:
        return b"PROXY UNKNOWN\r\n"
    packed = pack_pair(src[0], dst[0])
    for _, port in (src, dst):
        if not 0 <= port <= 65535:
            raise ValueError(f"not a port: {port}")
    name, family = ("TCP4", AF_INET) if len(packed[0]) == 4 else ("TCP6", AF_INET6)
    one, two = (inet_ntop(family, host) for host in packed)
    return f"PROXY {name} {one} {two} {src[1]} {dst[1]}\r\n".encode("ascii")

# SPDX-License-Identifier: MIT
"""Every reason of the codecs, and the first byte at which they raise it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ctwsgi import wire
from ctwsgi.errors import OriginError, Reason
from ctwsgi.wire import ctframe, proxy
from ctwsgi.wire.auth import Key, KeyRing
from ctwsgi.wire.crc32c import crc32c
from ctwsgi.wire.proxy import Command, Header, Transport, encode_local, encode_v1, encode_v2

from .support import outcome, outcome_in_pieces

SRC, DST = ("192.0.2.7", 50000), ("198.51.100.1", 80)
SRC6, DST6 = ("2001:db8::7", 50000), ("2001:db8:1::1", 80)
NOW = 1_700_000_000
KEY, OTHER = Key(1, b"k" * 32), Key(2, b"o" * 16)
KEYS = KeyRing([KEY])
SIGNED = encode_v2(SRC, DST, key=KEY, now=NOW)
PLAIN = encode_v2(SRC, DST)
TAGGED = {"keys": KEYS, "now": NOW}

AUTH_AT = 28 + 3  # where the value of SIGNED's only TLV begins
CRC = encode_v2(SRC, DST, crc32c=True)


def changed(header: bytes, at: int, *values: int) -> bytes:
    return header[:at] + bytes(values) + header[at + len(values) :]


def signed_with(*tlvs: tuple[int, bytes]) -> bytes:
    return encode_v2(SRC, DST, tlvs=tlvs, key=KEY, now=NOW)


def reasons_of_the_codecs() -> set[Reason]:
    """The reasons that `ctwsgi.wire` names anywhere."""
    sources = "".join(path.read_text() for path in Path(wire.__file__).parent.glob("*.py"))
    return {Reason[name] for name in re.findall(r"Reason\.([A-Z0-9_]+)", sources)}


@dataclass
class Case:
    name: str
    data: bytes
    reason: Reason
    at: int
    """The refusal comes when this many bytes are there, and not earlier."""
    options: dict[str, Any] = field(default_factory=dict)


PROXY_CASES = [
    Case("an HTTP request", b"GET / HTTP/1.1\r\n\r\n", Reason.NO_HEADER, 1),
    Case("a TLS ClientHello", b"\x16\x03\x01\x02\x00\x01", Reason.NO_HEADER, 1),
    Case("POST", b"POST / HTTP/1.1\r\n", Reason.NO_HEADER, 2),
    Case("a blank line and a request", b"\r\nGET / HTTP/1.1\r\n", Reason.NO_HEADER, 3),
    Case("the last byte of the signature", changed(PLAIN, 11, 0), Reason.NO_HEADER, 12),
    Case("v2 where v1 alone is taken", PLAIN, Reason.NO_HEADER, 1, {"versions": (1,)}),
    Case("v1 refused", encode_v1(SRC, DST), Reason.V1_NOT_ACCEPTED, 1, {"versions": (2,)}),
    Case("version 1 in binary", changed(PLAIN, 12, 0x11), Reason.BAD_VERSION, 13),
    Case("version 3", changed(PLAIN, 12, 0x31), Reason.BAD_VERSION, 13),
    Case("command 2", changed(PLAIN, 12, 0x22), Reason.BAD_COMMAND, 13),
    Case("command 15", changed(PLAIN, 12, 0x2F), Reason.BAD_COMMAND, 13),
    Case("family 4", changed(PLAIN, 13, 0x41), Reason.BAD_FAMILY, 14),
    Case("protocol 3", changed(PLAIN, 13, 0x13), Reason.BAD_PROTOCOL, 14),
    Case("family and protocol", changed(PLAIN, 13, 0xFF), Reason.BAD_FAMILY, 14),
    Case("length 65535", changed(PLAIN, 14, 0xFF, 0xFF), Reason.HEADER_TOO_LONG, 15),
    Case("length 4081", changed(PLAIN, 14, 0x0F, 0xF1), Reason.HEADER_TOO_LONG, 16),
    Case("a cap of 27", PLAIN, Reason.HEADER_TOO_LONG, 16, {"max_size": 27}),
    Case("LOCAL, length 65535", b"%b\x20\x00\xff\xff" % PLAIN[:12], Reason.HEADER_TOO_LONG, 15),
    Case("INET, length 11", changed(PLAIN, 14, 0, 11), Reason.SHORT_ADDRESS, 16),
    Case("INET6, length 35", changed(PLAIN, 13, 0x21, 0, 35), Reason.SHORT_ADDRESS, 16),
    Case("unix, length 215", changed(PLAIN, 13, 0x31, 0, 215), Reason.SHORT_ADDRESS, 16),
    Case("UDP, length 0", changed(PLAIN, 13, 0x12, 0, 0), Reason.SHORT_ADDRESS, 16),
    Case("a TLV's type alone", changed(PLAIN, 15, 13) + b"\x04", Reason.BAD_TLV, 29),
    Case("a TLV past the end", changed(PLAIN, 15, 16) + b"\x04\0\2\0", Reason.BAD_TLV, 32),
    Case("CRC32C, a port changed", changed(CRC, 25, 1), Reason.BAD_CRC, 35),
    Case("CRC32C, itself changed", CRC[:-1] + b"!", Reason.BAD_CRC, 35),
    Case("CRC32C of 3", encode_v2(SRC, DST, tlvs=[(3, b"abc")]), Reason.BAD_CRC, 34),
    Case("CRC32C twice", encode_v2(SRC, DST, tlvs=[(3, bytes(4))] * 2), Reason.BAD_CRC, 42),
    Case(
        "CRC32C of a datagram on a TCP listener",
        changed(encode_v2(SRC, DST, crc32c=True, transport=Transport.DGRAM), 25, 1),
        Reason.BAD_CRC,
        35,
    ),
    Case("v1, another protocol", b"PROXY UDP4 1.2.3.4", Reason.BAD_V1, 8),
    Case("v1, a letter", b"PROXY TCP4 1.2.x", Reason.BAD_V1, 16),
    Case("v1, a bare LF", b"PROXY TCP4 1.2.3.4\n", Reason.BAD_V1, 19),
    Case("v1, a lone CR", b"PROXY TCP4 1.2.3.4\r ", Reason.BAD_V1, 20),
    Case("v1, UNKNOWN, a bare LF", b"PROXY UNKNOWN \n", Reason.BAD_V1, 15),
    Case("v1, UNKNOWN, a lone CR", b"PROXY UNKNOWN\r\r", Reason.BAD_V1, 15),
    Case("v1, ports missing", b"PROXY TCP4 1.2.3.4 5.6.7.8\r\n", Reason.BAD_V1, 28),
    Case("v1, no protocol", b"PROXY \r\n", Reason.BAD_V1, 7),
    Case("v1, half a protocol", b"PROXY TCP\r\n", Reason.BAD_V1, 10),
    Case("v1, port 65536", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n", Reason.BAD_V1, 36),
    Case("v1, 256", b"PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n", Reason.BAD_V1, 34),
    Case("v1, 108 bytes", b"PROXY UNKNOWN %92d\r\n" % 0, Reason.HEADER_TOO_LONG, 106),
    Case(
        "v1, a cap of 20", b"PROXY TCP4 1.2.3.4 5.6", Reason.HEADER_TOO_LONG, 19, {"max_size": 20}
    ),
    Case("v1 under a key", encode_v1(SRC, DST), Reason.AUTH_V1, 11, TAGGED),
    Case("v1 over IPv6 under a key", encode_v1(SRC6, DST6), Reason.AUTH_V1, 11, TAGGED),
    Case("UNKNOWN under a key", encode_v1(None, None), Reason.AUTH_UNKNOWN, 13, TAGGED),
    Case("LOCAL under a key", encode_local(), Reason.AUTH_LOCAL, 13, TAGGED),
    Case("UNSPEC under a key", encode_v2(None, None), Reason.AUTH_UNSPEC, 14, TAGGED),
    Case("unix under a key", changed(SIGNED, 13, 0x31), Reason.AUTH_UNSPEC, 14, TAGGED),
    Case(
        "UDP under a key on a TCP listener",
        changed(SIGNED, 13, 0x12),
        Reason.AUTH_UNSPEC,
        14,
        TAGGED,
    ),
    Case(
        "INET without a protocol under a key",
        changed(SIGNED, 13, 0x10),
        Reason.AUTH_UNSPEC,
        14,
        TAGGED,
    ),
    Case("family 4 under a key", changed(SIGNED, 13, 0x41), Reason.BAD_FAMILY, 14, TAGGED),
    Case("v1, 107 bytes, a CR but no LF", b"PROXY UNKNOWN %91d\rx" % 0, Reason.BAD_V1, 107),
    Case("no tag", PLAIN, Reason.AUTH_MISSING, 28, TAGGED),
    Case(
        "no tag among TLVs", encode_v2(SRC, DST, tlvs=[(4, b"")]), Reason.AUTH_MISSING, 31, TAGGED
    ),
    Case(
        "two tags",
        encode_v2(SRC, DST, tlvs=[(0xE7, SIGNED[AUTH_AT:])] * 2),
        Reason.AUTH_DUPLICATE,
        78,
        TAGGED,
    ),
    Case(
        "a tag of 21", encode_v2(SRC, DST, tlvs=[(0xE7, bytes(21))]), Reason.AUTH_LENGTH, 52, TAGGED
    ),
    Case(
        "a tag of 23", encode_v2(SRC, DST, tlvs=[(0xE7, bytes(23))]), Reason.AUTH_LENGTH, 54, TAGGED
    ),
    Case("0xE8 of 5", signed_with((0xE8, bytes(5))), Reason.BAD_TLV, 61, TAGGED),
    Case("0xE8 of IPv6 in INET", signed_with((0xE8, bytes(18))), Reason.BAD_TLV, 74, TAGGED),
    Case("0xE8 twice", signed_with((0xE8, bytes(6)), (0xE8, bytes(6))), Reason.BAD_TLV, 71, TAGGED),
    Case(
        "0xE8 without a tag",
        encode_v2(SRC, DST, tlvs=[(0xE8, b"")]),
        Reason.AUTH_MISSING,
        31,
        TAGGED,
    ),
    Case("version 0", changed(SIGNED, AUTH_AT, 0), Reason.AUTH_VERSION, 53, TAGGED),
    Case("version 2", changed(SIGNED, AUTH_AT, 2), Reason.AUTH_VERSION, 53, TAGGED),
    Case("an unknown key", encode_v2(SRC, DST, key=OTHER, now=NOW), Reason.AUTH_KEY_ID, 53, TAGGED),
    Case("another key's id", changed(SIGNED, AUTH_AT + 1, 9), Reason.AUTH_KEY_ID, 53, TAGGED),
    Case(
        "the right id, another key",
        encode_v2(SRC, DST, key=Key(1, b"K" * 32), now=NOW),
        Reason.AUTH_TAG,
        53,
        TAGGED,
    ),
    Case("another time", changed(SIGNED, AUTH_AT + 5, 1), Reason.AUTH_TAG, 53, TAGGED),
    Case("301 s old", encode_v2(SRC, DST, key=KEY, now=NOW - 301), Reason.AUTH_TIME, 53, TAGGED),
    Case("301 s ahead", encode_v2(SRC, DST, key=KEY, now=NOW + 301), Reason.AUTH_TIME, 53, TAGGED),
    Case(
        "2 s old, window 1",
        encode_v2(SRC, DST, key=KEY, now=NOW - 2),
        Reason.AUTH_TIME,
        53,
        TAGGED | {"window": 1},
    ),
    Case("old by the clock", SIGNED, Reason.AUTH_TIME, 53, {"keys": KEYS}),
    Case(
        "checksum before tag",
        changed(encode_v2(SRC, DST, key=KEY, now=NOW, crc32c=True), AUTH_AT + 6, 0, 0),
        Reason.BAD_CRC,
        60,
        TAGGED,
    ),
]


def two_destinations() -> None:
    ctframe.FrameDecoder().feed(
        ctframe.encode_stream(("192.0.2.1", 80), b"a")
        + ctframe.encode_stream(("192.0.2.1", 81), b"b")
    )


def zero_length() -> None:
    ctframe.FrameDecoder().feed(bytes.fromhex("c6336401 5000 0000"))


def end_in_frame() -> None:
    decoder = ctframe.FrameDecoder()
    decoder.feed(bytes.fromhex("c6336401 5000 0200 61"))
    decoder.eof()


OTHER_CASES: list[tuple[Reason, Callable[[], Any]]] = [
    (Reason.ZERO_LENGTH_FRAME, zero_length),
    (Reason.DESTINATION_CHANGED, two_destinations),
    (Reason.EOF_IN_FRAME, end_in_frame),
    (Reason.SHORT_DATAGRAM, lambda: ctframe.decode_datagram(bytes(5))),
    (
        Reason.EOF_IN_HEADER,
        lambda: proxy.decode_datagram(encode_v2(SRC, DST, transport=Transport.DGRAM)[:-1]),
    ),
]


@pytest.mark.parametrize("case", PROXY_CASES, ids=lambda case: case.name)
def test_refused(case: Case) -> None:
    assert outcome(case.data, **case.options) is case.reason


@pytest.mark.parametrize("case", PROXY_CASES, ids=lambda case: case.name)
def test_refused_at_the_first_byte_that_is_wrong(case: Case) -> None:
    data = case.data + b"tail"
    assert outcome_in_pieces(data, range(len(data)), **case.options) == (case.reason, case.at)


@pytest.mark.parametrize(("reason", "provoke"), OTHER_CASES)
def test_refused_elsewhere(reason: Reason, provoke: Callable[[], Any]) -> None:
    with pytest.raises(OriginError) as caught:
        provoke()
    assert caught.value.reason is reason
    assert str(caught.value).startswith(str(reason))


def test_every_reason_of_the_codecs_has_a_case() -> None:
    covered = {case.reason for case in PROXY_CASES} | {reason for reason, _ in OTHER_CASES}
    assert covered == reasons_of_the_codecs()


def test_a_second_checksum_is_refused_though_the_first_is_right() -> None:
    header = bytearray(encode_v2(SRC, DST, tlvs=[(3, bytes(4)), (3, bytes(4))]))
    header[31:35] = crc32c(header).to_bytes(4, "big")
    assert outcome(header) is Reason.BAD_CRC


def test_local_of_exactly_the_cap() -> None:
    header = encode_local(tlvs=[(4, bytes(4096 - 16 - 3))])
    assert outcome(header) == (Header(2, Command.LOCAL, None, None), 4096)
    assert outcome(header, max_size=4095) is Reason.HEADER_TOO_LONG

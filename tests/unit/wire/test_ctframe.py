# SPDX-License-Identifier: MIT
"""The frame decoder with one reused buffer, and the encoders."""

from __future__ import annotations

from typing import Any

import pytest

from ctwsgi.errors import OriginError, Reason
from ctwsgi.wire import ctframe
from ctwsgi.wire.ctframe import FrameDecoder, encode_stream, frame_header

DST = ("198.51.100.1", 8080)
HEADER = bytes.fromhex("c6336401 901f")  # the port is little-endian


def test_bytes_of_a_frame() -> None:
    assert frame_header(DST, 300) == HEADER + bytes.fromhex("2c01")
    assert encode_stream(DST, b"hello") == HEADER + b"\x05\x00hello"


def test_frames_of_a_size() -> None:
    assert encode_stream(DST, b"abcde", 2) == b"".join(
        HEADER + bytes([len(part), 0]) + part for part in (b"ab", b"cd", b"e")
    )
    assert encode_stream(DST, b"") == b""


def test_destination_is_known_with_the_first_header() -> None:
    decoder = FrameDecoder()
    assert decoder.feed(encode_stream(DST, b"x")[:7]) == b""
    assert decoder.destination is None
    assert decoder.feed(b"\x00") == b""
    assert decoder.destination == DST
    assert decoder.feed(b"x") == b"x"
    decoder.eof()


def test_an_http_request_parses_as_a_frame() -> None:
    """The format cannot tell them apart; that is why the guard is needed (docs/threat-model.md)."""
    decoder = FrameDecoder()
    assert decoder.feed(b"GET / HTTP/1.1\r\n") == b"TP/1.1\r\n"
    assert decoder.destination == ("71.69.84.32", 8239)


def test_strip_compacts_in_place() -> None:
    decoder = FrameDecoder()
    buffer = bytearray(encode_stream(DST, b"abcdefgh", 3) + b"old bytes of an earlier read")
    size = len(encode_stream(DST, b"abcdefgh", 3))
    assert decoder.strip(buffer, size) == 8
    assert buffer[:8] == b"abcdefgh"
    assert buffer[size:] == b"old bytes of an earlier read"


def test_strip_of_nothing() -> None:
    decoder = FrameDecoder()
    assert decoder.strip(bytearray(b"unread"), 0) == 0
    decoder.eof()


def test_payload_stays_where_it_is() -> None:
    decoder = FrameDecoder()
    decoder.feed(frame_header(DST, 10))
    buffer = bytearray(b"0123456789")
    assert decoder.strip(buffer, 4) == 4
    assert decoder.strip(buffer, 6) == 6
    assert buffer == b"0123456789"
    decoder.eof()


def test_several_frames_after_a_partial_one() -> None:
    decoder = FrameDecoder()
    stream = encode_stream(DST, b"abcdefghij", 4)
    assert decoder.feed(stream[:10]) == b"ab"
    assert decoder.feed(stream[10:]) == b"cdefghij"


@pytest.mark.parametrize("cut", range(1, 8))
def test_eof_inside_a_header(cut: int) -> None:
    decoder = FrameDecoder()
    decoder.feed(encode_stream(DST, b"abc") + frame_header(DST, 1)[:cut])
    with pytest.raises(OriginError) as caught:
        decoder.eof()
    assert caught.value.reason is Reason.EOF_IN_FRAME


def test_eof_before_the_first_byte() -> None:
    FrameDecoder().eof()


@pytest.mark.parametrize("cut", [1, 4, 8, 9, 10, 15, 17])
@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (bytes.fromhex("c6336402 901f 0100"), Reason.DESTINATION_CHANGED),
        (bytes.fromhex("c6336401 911f 0100"), Reason.DESTINATION_CHANGED),
        (bytes.fromhex("c6336401 901f 0000"), Reason.ZERO_LENGTH_FRAME),
    ],
)
def test_bad_second_frame_however_split(second: bytes, reason: Reason, cut: int) -> None:
    decoder = FrameDecoder()
    stream = encode_stream(DST, b"a") + second + b"b"

    def feed_both() -> None:
        decoder.feed(stream[:cut])
        decoder.feed(stream[cut:])

    with pytest.raises(OriginError) as caught:
        feed_both()
    assert caught.value.reason is reason
    assert decoder.destination == DST


def test_a_refusal_does_not_pin_the_buffer() -> None:
    """The caller may resize its buffer while it handles the error."""
    buffer = bytearray(16)
    with pytest.raises(OriginError) as caught:
        FrameDecoder().strip(buffer, 16)
    del buffer[4:]
    assert caught.value.reason is Reason.ZERO_LENGTH_FRAME


def test_longest_frame() -> None:
    payload = bytes(range(256)) * 300
    decoder = FrameDecoder()
    assert decoder.feed(encode_stream(DST, payload)) == payload


def test_datagram() -> None:
    assert ctframe.encode_datagram(DST, b"query") == HEADER + b"query"
    assert ctframe.decode_datagram(HEADER + b"query") == (DST, b"query")
    assert ctframe.decode_datagram(HEADER) == (DST, b"")


@pytest.mark.parametrize(
    "encode",
    [
        lambda: frame_header(DST, 0),
        lambda: frame_header(DST, 65536),
        lambda: frame_header(("2001:db8::1", 80), 1),
        lambda: frame_header(("host.example", 80), 1),
        lambda: frame_header(("198.51.100.1", 65536), 1),
        lambda: frame_header(("198.51.100.1", -1), 1),
        lambda: encode_stream(DST, b"x", 0),
        lambda: encode_stream(DST, b"x", 65536),
        lambda: ctframe.encode_datagram(("::1", 80), b""),
    ],
)
def test_encoders_refuse(encode: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        encode()

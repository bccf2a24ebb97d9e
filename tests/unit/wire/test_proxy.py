# SPDX-License-Identifier: MIT
"""PROXY v1 and v2: what is accepted, and what the encoders write."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ctwsgi.errors import OriginError, Reason
from ctwsgi.wire import proxy
from ctwsgi.wire.proxy import Command, Header, Transport, encode_local, encode_v1, encode_v2

V4 = (("192.0.2.7", 50000), ("198.51.100.1", 80))
V6 = (("2001:db8::7", 50000), ("2001:db8:1::1", 443))
SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")


def test_v2_bytes_ipv4() -> None:
    assert encode_v2(*V4) == SIGNATURE + bytes.fromhex(
        "21 11 000c  c0000207 c6336401 c350 0050"
    )  # composed by hand


def test_v2_bytes_ipv6() -> None:
    assert encode_v2(*V6) == SIGNATURE + bytes.fromhex(
        "21 21 0024  20010db8000000000000000000000007 20010db8000100000000000000000001 c350 01bb"
    )


def test_v2_sizes_are_those_of_the_design() -> None:
    assert (len(encode_v2(*V4)), len(encode_v2(*V6))) == (28, 52)


@pytest.mark.parametrize(
    ("src", "dst", "family"),
    [
        ("192.0.2.7", "2001:db8::1", 0x21),
        ("2001:db8::1", "192.0.2.7", 0x21),
        ("::ffff:192.0.2.7", "198.51.100.1", 0x11),
        ("::ffff:192.0.2.7", "::ffff:198.51.100.1", 0x11),
        ("::ffff:192.0.2.7", "2001:db8::1", 0x21),
    ],
)
def test_mixed_families(src: str, dst: str, family: int) -> None:
    """With one IPv6 address the header is INET6; a v4-mapped address is read as IPv4 again."""
    header = encode_v2((src, 1), (dst, 2))
    assert header[13] == family
    expected = tuple((host.removeprefix("::ffff:"), port) for host, port in ((src, 1), (dst, 2)))
    for encoded in (header, encode_v1((src, 1), (dst, 2))):
        found = proxy.decode(encoded)
        assert found is not None
        assert (found[0].src, found[0].dst) == expected
        assert found[1] == len(encoded)


@pytest.mark.parametrize(
    ("addresses", "line"),
    [
        (V4, b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 80\r\n"),
        (V6, b"PROXY TCP6 2001:db8::7 2001:db8:1::1 50000 443\r\n"),
        ((V4[0], V6[1]), b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8:1::1 50000 443\r\n"),
        ((None, None), b"PROXY UNKNOWN\r\n"),
        ((V4[0], None), b"PROXY UNKNOWN\r\n"),
        ((None, V4[1]), b"PROXY UNKNOWN\r\n"),
    ],
)
def test_v1_lines(addresses: Any, line: bytes) -> None:
    assert encode_v1(*addresses) == line


def test_local_and_unspec() -> None:
    assert encode_local() == SIGNATURE + bytes.fromhex("20 00 0000")
    assert encode_v2(None, V4[1]) == SIGNATURE + bytes.fromhex("21 00 0000")
    assert proxy.decode(encode_local(tlvs=[(4, b"x")], crc32c=True)) == (
        Header(2, Command.LOCAL, None, None),
        16 + 4 + 7,
    )


def test_tlvs_are_kept_in_order() -> None:
    tlvs = ((4, b""), (0xEA, b"\x01vpce"), (4, b"again"), (0xFF, bytes(300)))
    found = proxy.decode(encode_v2(*V6, tlvs=tlvs))
    assert found is not None
    assert found[0].tlvs == tlvs


def test_checksum_lies_at_the_end_and_verifies() -> None:
    header = encode_v2(*V4, tlvs=[(4, b"abc")], crc32c=True)
    found = proxy.decode(header)
    assert found is not None
    assert found[0].tlvs == ((4, b"abc"), (3, header[-4:]))


def test_a_header_of_exactly_the_cap() -> None:
    header = encode_v2(*V4, tlvs=[(4, bytes(4096 - 28 - 3))])
    assert len(header) == proxy.MAX_HEADER
    found = proxy.decode(header)
    assert found is not None
    assert found[1] == 4096


def test_another_transport_leaves_the_endpoints() -> None:
    for header in (encode_v1(*V4), encode_v2(*V4)):
        found = proxy.decode(header, transport=Transport.DGRAM)
        assert found is not None
        assert (found[0].src, found[0].dst) == (None, None)


def test_datagram() -> None:
    header = encode_v2(*V4, transport=Transport.DGRAM)
    assert proxy.decode_datagram(header + b"payload") == (
        Header(2, Command.PROXY, *V4),
        b"payload",
    )
    assert proxy.decode_datagram(header)[1] == b""
    with pytest.raises(OriginError) as caught:
        proxy.decode_datagram(encode_v1(*V4))
    assert caught.value.reason is Reason.V1_NOT_ACCEPTED


def test_longest_header_that_can_be_said() -> None:
    header = encode_v2(*V4, tlvs=[(4, bytes(65535 - 12 - 3))])
    found = proxy.decode(header, max_size=1 << 20)
    assert found is not None
    assert found[1] == 65551


@pytest.mark.parametrize(
    "encode",
    [
        lambda: encode_v2(("host.example", 1), V4[1]),
        lambda: encode_v2(V4[0], ("fe80::1%lo", 1)),
        lambda: encode_v2(("192.0.2.7", 65536), V4[1]),
        lambda: encode_v2(("192.0.2.7", -1), V4[1]),
        lambda: encode_v2(*V4, tlvs=[(256, b"")]),
        lambda: encode_v2(*V4, tlvs=[(4, bytes(65536))]),
        lambda: encode_v2(*V4, tlvs=[(4, bytes(65535))]),
        lambda: encode_v2(*V4, tlvs=[(3, bytes(4))], crc32c=True),
        lambda: encode_v1(("192.0.2.7", 65536), V4[1]),
        lambda: encode_v1(V4[0], ("192.0.2.7", -1)),
        lambda: encode_v1(("", 1), V4[1]),
    ],
)
def test_encoders_refuse(encode: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        encode()


def test_header_is_an_immutable_value() -> None:
    header = Header(2, Command.PROXY, *V4)
    assert header == Header(
        version=2, command=Command.PROXY, src=V4[0], dst=V4[1], tlvs=(), auth=None
    )
    assert hash(header) == hash(Header(2, Command.PROXY, *V4))
    assert dataclasses.replace(header, auth=7).auth == 7
    with pytest.raises(dataclasses.FrozenInstanceError):
        header.dst = None  # type: ignore[misc]

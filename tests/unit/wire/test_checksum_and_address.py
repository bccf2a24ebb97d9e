# SPDX-License-Identifier: MIT
"""CRC32C against RFC 3720's vectors, and the spelling of addresses."""

from __future__ import annotations

import pytest

from ctwsgi.wire.address import host_text, normal_host, pack_host, pack_pair, show
from ctwsgi.wire.crc32c import crc32c

# RFC 3720, B.4. The RFC prints the bytes in the order of transmission, low byte first.
RFC_3720 = [
    ("32 bytes of zeros", bytes(32), "aa36918a"),
    ("32 bytes of ones", b"\xff" * 32, "43aba862"),
    ("32 bytes, 0 up to 31", bytes(range(32)), "4e79dd46"),
    ("32 bytes, 31 down to 0", bytes(range(31, -1, -1)), "5cdb3f11"),
    (
        "an iSCSI read command",
        bytes.fromhex(
            "01c00000 00000000 00000000 00000000 14000000 00000400"
            "00000014 00000018 28000000 00000000 02000000 00000000"
        ),
        "563a96d9",
    ),
]


@pytest.mark.parametrize(("name", "data", "sent"), RFC_3720)
def test_rfc_3720(name: str, data: bytes, sent: str) -> None:
    assert crc32c(data).to_bytes(4, "little").hex() == sent
    assert crc32c(bytearray(data)) == crc32c(data)


def test_check_value() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"") == 0


@pytest.mark.parametrize(
    ("host", "packed", "text"),
    [
        ("198.51.100.1", "c6336401", "198.51.100.1"),
        ("2001:DB8:0:0::1", "20010db8000000000000000000000001", "2001:db8::1"),
        ("::ffff:198.51.100.1", "00000000000000000000ffffc6336401", "198.51.100.1"),
        ("::", "00" * 16, "::"),
    ],
)
def test_packed_and_text(host: str, packed: str, text: str) -> None:
    assert pack_host(host).hex() == packed
    assert host_text(bytes.fromhex(packed)) == text
    assert normal_host(host) == text


def test_zone_is_dropped() -> None:
    assert normal_host("fe80::1%eth0") == "fe80::1"


def test_pairs_have_one_length() -> None:
    mapped = bytes(10) + b"\xff\xff"
    one, six = pack_host("192.0.2.1"), pack_host("2001:db8::1")
    assert pack_pair("192.0.2.1", "::ffff:192.0.2.1") == (one, one)
    assert pack_pair("192.0.2.1", "2001:db8::1") == (mapped + one, six)
    assert pack_pair("2001:db8::1", "192.0.2.1") == (six, mapped + one)
    assert pack_pair("2001:db8::1", "2001:db8::1") == (six, six)


@pytest.mark.parametrize(
    "host", ["", "localhost", "1.2.3", "1.2.3.04", "fe80::1%lo", "::g", "1.2.3.4 "]
)
def test_not_an_address(host: str) -> None:
    with pytest.raises(ValueError, match="not an IP address"):
        pack_host(host)


def test_show() -> None:
    assert show("192.0.2.1", 80) == "192.0.2.1:80"
    assert show("2001:db8::1", 1) == "[2001:db8::1]:1"

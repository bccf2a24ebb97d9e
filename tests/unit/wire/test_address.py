# SPDX-License-Identifier: MIT
"""The spelling of addresses, and their packed form."""

from __future__ import annotations

import pytest

from ctwsgi.wire.address import host_text, normal_host, pack_host, pack_pair, show


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

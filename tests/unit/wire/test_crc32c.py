# SPDX-License-Identifier: MIT
"""CRC32C against the vectors of RFC 3720."""

from __future__ import annotations

import pytest

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

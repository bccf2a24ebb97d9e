# SPDX-License-Identifier: MIT
"""CRC32C (Castagnoli), the checksum of the PROXY protocol's TLV 0x03. RFC 3720, appendix B.4.

One table lookup per byte: about 4 us for a header of 60 bytes, spent only on headers that have the
checksum.
"""

from __future__ import annotations

_POLYNOMIAL = 0x82F63B78
"""0x1EDC6F41 with its bits reversed, because the register shifts right."""


def _entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
    return value


_TABLE = tuple(_entry(byte) for byte in range(256))


def crc32c(data: bytes | bytearray) -> int:
    """The checksum as a number; the PROXY protocol sends it in network byte order."""
    table = _TABLE
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF

# SPDX-License-Identifier: MIT
"""Forged origins: the injector's format with another destination."""

from __future__ import annotations

import struct
from socket import AF_INET6, inet_pton

from ctwsgi.wire.ctframe import frame_header

from .attack import Attack
from .peer import Peer

VICTIM = ("6.6.6.6", 666)


def forged(attack: Attack, peer: Peer) -> bytes:
    """Bytes whose first H are a whole header, or a frame. A signed header has a wrong tag."""
    if attack.framed:
        return frame_header(VICTIM, 20) + b"forged in 20 bytes.."
    v6 = attack.place.version == 6
    addresses = (
        inet_pton(AF_INET6, peer.source[0]) + inet_pton(AF_INET6, "2001:db8::666")
        if v6
        else bytes((10, 61, 1, 66, 6, 6, 6, 6))
    )
    tag = bytes((0xE7, 0, 22, 1, 7)) + bytes(20) if attack.keys else b""
    block = addresses + struct.pack("!HH", peer.source[1], VICTIM[1]) + tag
    start = b"\r\n\r\n\0\r\nQUIT\n" + bytes((0x21, 0x21 if v6 else 0x11))
    return start + struct.pack("!H", len(block)) + block

# SPDX-License-Identifier: MIT
"""Reads a stream to its end, to a size, or past its PROXY header; ends one by a reset."""

from __future__ import annotations

import socket
import struct

from ctwsgi.wire import proxy
from ctwsgi.wire.auth import KeyRing

_NO_LINGERING = struct.pack("ii", 1, 0)


def receive_all(sock: socket.socket) -> bytes:
    """Everything until the peer's FIN; a reset raises ConnectionResetError."""
    parts = []
    while part := sock.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def receive_until_closed(sock: socket.socket) -> bytes:
    """Everything until the peer closes or resets the connection."""
    data = b""
    try:
        while block := sock.recv(1 << 16):
            data += block
    except ConnectionResetError:
        pass
    return data


def receive_exactly(sock: socket.socket, size: int) -> bytes:
    """`size` bytes; AssertionError when the stream ends earlier."""
    data = bytearray()
    while len(data) < size:
        part = sock.recv(size - len(data))
        assert part, f"ended after {len(data)} of {size} bytes"
        data += part
    return bytes(data)


def receive_header(sock: socket.socket, keys: KeyRing | None = None) -> proxy.Header:
    """Reads the PROXY v2 header, and no byte after it."""
    fixed = receive_exactly(sock, 16)
    raw = fixed + receive_exactly(sock, int.from_bytes(fixed[14:], "big"))
    decoded = proxy.decode(raw, keys=keys)
    assert decoded is not None
    assert decoded[1] == len(raw)
    return decoded[0]


def hard_reset(sock: socket.socket) -> None:
    """Closes the connection with an RST instead of a FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
    sock.close()

# SPDX-License-Identifier: MIT
"""The ctframe formats (docs/wire-formats.md): the original destination in front of each payload.

Stream: a sequence of frames, `dst_ip[4]` network order, `dst_port` u16 little-endian, `length` u16
little-endian (1..65535), then `length` payload bytes; every frame names the same destination.
Datagram: the first six of those bytes, then the payload. IPv4 only.

Nothing here can tell a frame from other bytes, so what comes out is as true as the path it came by.
"""

from __future__ import annotations

from struct import Struct

from ..errors import OriginError, Reason
from ..origin import Address
from .address import ipv4_text, pack_host

HEADER_SIZE = 8
"""Bytes before each frame's payload."""

DATAGRAM_HEADER_SIZE = 6
"""Bytes before a datagram's payload."""

MAX_FRAME = 65535
"""Payload bytes that one frame can hold."""

_HEADER = Struct("<6sH")
_ADDRESS = Struct("<4sH")
_unpack_header = _HEADER.unpack_from


class FrameDecoder:
    """Takes the frames out of one connection's client-to-server stream, however it was split.

    Made for `recv_into`: payload is moved to the front of the caller's buffer, never copied into
    objects of its own.
    """

    __slots__ = ("_destination", "_part", "_remaining", "destination")

    def __init__(self) -> None:
        self.destination: Address | None = None
        """None until the first frame's header was complete; the same ever after."""
        self._destination = b""  # the same as six raw bytes, which is what frames are held against
        self._remaining = 0  # payload bytes of the current frame still to come
        self._part = b""  # a header's first bytes, when a read ended inside it

    def strip(self, buffer: bytearray, size: int) -> int:
        """Move the payload within `buffer[:size]`, which was just received, to the front.

        Returns how many payload bytes there are, 0..size; 0 means that the read brought no more
        than header bytes, not the end. Raises OriginError (ZERO_LENGTH_FRAME,
        DESTINATION_CHANGED); the stream is lost then.
        """
        remaining = self._remaining
        if size <= remaining:
            self._remaining = remaining - size
            return size
        # Released on the way out, an exception's too: a caller may resize its buffer in a handler.
        with memoryview(buffer) as view:
            if self._part:
                missing = HEADER_SIZE - len(self._part)
                if size < missing:
                    self._part += view[:size]
                    return 0
                header = self._part + view[:missing]
                self._part = b""
                return self._compact(view, size, 0, missing, self._length(*_HEADER.unpack(header)))
            return self._compact(view, size, 0, 0, remaining)

    def _compact(self, view: memoryview, size: int, write: int, read: int, length: int) -> int:
        """`length` payload bytes begin at `read` and belong at `write`; then headers follow."""
        while True:
            end = read + length
            if end >= size:
                view[write : write + size - read] = view[read:size]
                self._remaining = end - size
                return write + size - read
            if read != write:
                view[write : write + length] = view[read:end]
            write += length
            read = end + HEADER_SIZE
            if read > size:
                self._part = bytes(view[end:size])
                self._remaining = 0
                return write
            destination, length = _unpack_header(view, end)
            if destination != self._destination or not length:
                self._length(destination, length)

    def _length(self, destination: bytes, length: int) -> int:
        """The length of a frame whose header is acceptable; learns the first one's destination."""
        if not length:
            raise OriginError(Reason.ZERO_LENGTH_FRAME)
        if destination != self._destination:
            if self._destination:
                raise OriginError(Reason.DESTINATION_CHANGED)
            self._destination = destination
            self.destination = _address(destination)
        return length

    def feed(self, data: bytes) -> bytes:
        """The payload in `data`: `strip` for whoever has no buffer to reuse."""
        buffer = bytearray(data)
        del buffer[self.strip(buffer, len(buffer)) :]
        return bytes(buffer)

    def eof(self) -> None:
        """The stream ended here: OriginError (EOF_IN_FRAME) unless a frame ended here as well."""
        if self._part or self._remaining:
            raise OriginError(Reason.EOF_IN_FRAME)


def frame_header(destination: Address, length: int) -> bytes:
    """The eight bytes before `length` (1..65535) payload bytes.

    ValueError when the destination is not IPv4, or port or length are out of range.
    """
    if not 0 < length <= MAX_FRAME:
        raise ValueError(f"a frame's length is 1..{MAX_FRAME}, not {length}")
    return _HEADER.pack(_raw(destination), length)


def encode_stream(destination: Address, payload: bytes, frame_size: int = MAX_FRAME) -> bytes:
    """`payload` in frames of `frame_size` bytes, the last one shorter; no payload, no frame."""
    header = frame_header(destination, frame_size)
    whole = len(payload) - len(payload) % frame_size
    frames = [header + payload[i : i + frame_size] for i in range(0, whole, frame_size)]
    if rest := payload[whole:]:
        frames.append(frame_header(destination, len(rest)) + rest)
    return b"".join(frames)


def encode_datagram(destination: Address, payload: bytes) -> bytes:
    """A datagram's bytes; ValueError when the destination is not IPv4."""
    return _raw(destination) + payload


def decode_datagram(datagram: bytes) -> tuple[Address, bytes]:
    """(original destination, payload); OriginError (SHORT_DATAGRAM) under six bytes."""
    if len(datagram) < DATAGRAM_HEADER_SIZE:
        raise OriginError(Reason.SHORT_DATAGRAM, f"{len(datagram)} of 6 bytes")
    return _address(datagram[:DATAGRAM_HEADER_SIZE]), datagram[DATAGRAM_HEADER_SIZE:]


def _address(raw: bytes) -> Address:
    host, port = _ADDRESS.unpack(raw)
    return ipv4_text(host), port


def _raw(destination: Address) -> bytes:
    host, port = destination
    packed = pack_host(host)
    if len(packed) != 4:
        raise ValueError(f"ctframe holds IPv4 destinations only, not {host!r}")
    if not 0 <= port <= 65535:
        raise ValueError(f"not a port: {port}")
    return _ADDRESS.pack(packed, port)

# SPDX-License-Identifier: MIT
"""The ctframe formats (docs/wire-formats.md): the original destination in front of each payload.

Stream: a sequence of frames, `dst_ip[4]` network order, `dst_port` u16 little-endian, `length` u16
little-endian (1..65535), then `length` payload bytes; every frame names the same destination.
Datagram: the first six of those bytes, then the payload. IPv4 only.

A decoder cannot tell a frame from other bytes, so the destination is only as trustworthy as the
path that the bytes took (docs/threat-model.md).
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
    """Removes the frame headers from one connection's client-to-server stream.

    The stream may be split anywhere. Made for `recv_into`: payload is moved to the front of the
    caller's buffer, so no new objects are made.
    """

    __slots__ = ("_destination", "_part", "_remaining", "destination")

    def __init__(self) -> None:
        self.destination: Address | None = None
        """None until the first frame's header is complete; then it does not change."""
        self._destination = b""  # as six raw bytes, which are compared with every frame
        self._remaining = 0  # payload bytes of the current frame still to come
        self._part = b""  # the first bytes of a header, when a read ended inside it

    def strip(self, buffer: bytearray, size: int) -> int:
        """Moves the payload in `buffer[:size]`, which was just received, to the front.

        Returns the number of payload bytes, 0..size. 0 means that only header bytes were received;
        it is not the end of the stream. After an OriginError (ZERO_LENGTH_FRAME,
        DESTINATION_CHANGED) the stream cannot be decoded further.
        """
        remaining = self._remaining
        if size <= remaining:
            self._remaining = remaining - size
            return size
        # `with` releases the view also after an exception: the caller may resize its buffer.
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
        """Moves `length` payload bytes from `read` to `write`, then parses the next header."""
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
        """Checks a frame's header and returns its length; the first frame sets the destination."""
        if not length:
            raise OriginError(Reason.ZERO_LENGTH_FRAME)
        if destination != self._destination:
            if self._destination:
                raise OriginError(Reason.DESTINATION_CHANGED)
            self._destination = destination
            self.destination = _address(destination)
        return length

    def feed(self, data: bytes) -> bytes:
        """Returns the payload in `data`: as strip(), for callers without a buffer to reuse."""
        buffer = bytearray(data)
        del buffer[self.strip(buffer, len(buffer)) :]
        return bytes(buffer)

    def eof(self) -> None:
        """The stream ends here. OriginError (EOF_IN_FRAME) when a frame is incomplete."""
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

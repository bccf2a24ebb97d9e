# SPDX-License-Identifier: MIT
"""PROXY protocol version 2, the binary header (haproxy's proxy-protocol.txt, 2.2).

    offset  0  signature, 12 bytes
           12  version (high nibble, 2) and command (low nibble: 0 LOCAL, 1 PROXY)
           13  family (high nibble: 0 UNSPEC, 1 INET, 2 INET6, 3 UNIX)
               and protocol (low nibble: 0 UNSPEC, 1 STREAM, 2 DGRAM)
           14  length of all that follows, u16 network order
           16  source address, destination address, source port, destination port; TLVs

The decoder returns header and length, raises OriginError, or returns None while the header is
incomplete. Within the first 16 bytes it refuses at the first wrong one. It checks TLVs when the
header is complete: a check at every byte would let a slow sender cause much work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from struct import Struct
from struct import error as struct_error

from ..errors import OriginError, Reason
from ..origin import Address
from . import auth, tlv
from .address import host_text, ipv4_text, pack_pair
from .crc32c import crc32c as checksum
from .header import Command, Header, Transport
from .translated import translated_source

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
FIXED_SIZE = 16

_VERSION_2 = 0x20
_FIXED = Struct("!12sBBH")
_unpack_start = Struct("!14sH").unpack_from
_INET = Struct("!4s4sHH")
_INET6 = Struct("!16s16sHH")
_CHECKSUM = Struct("!I")
_BLOCK_SIZES = (0, _INET.size, _INET6.size, 216)
"""Bytes of addresses by family; AF_UNIX has two paths of 108."""

_PROXY = Command.PROXY
_Text = Callable[[bytes], str]
_FAMILIES: dict[int, tuple[Struct, _Text]] = {
    0x10: (_INET, ipv4_text),
    0x20: (_INET6, host_text),
}

# Headers whose addresses are used, found by their first 14 bytes in one look-up.
_USED = {
    SIGNATURE + bytes((_VERSION_2 | _PROXY, family | transport)): (
        transport,
        layout.size,
        layout.unpack_from,
        text,
    )
    for transport in (Transport.STREAM, Transport.DGRAM)
    for family, (layout, text) in _FAMILIES.items()
}

Buffer = bytes | bytearray | memoryview


def decode_v2(
    data: Buffer,
    max_size: int,
    transport: Transport,
    keys: auth.KeyRing | None,
    window: int,
    now: float | None,
) -> tuple[Header, int] | None:
    """As proxy.decode; `data` is not empty."""
    size = len(data)
    if size < FIXED_SIZE:
        return _decode_unused(data, max_size, transport, keys)
    start, length = _unpack_start(data)
    used = _USED.get(start)
    if used is None or used[0] is not transport:
        return _decode_unused(data, max_size, transport, keys)
    _, block, unpack, text = used
    end = FIXED_SIZE + length
    if end > max_size or length < block:
        _refuse_length(length, block, max_size)
    if size < end:
        return None
    src, dst, sport, dport = unpack(data, FIXED_SIZE)
    if length == block and keys is None:
        return Header(2, _PROXY, (text(src), sport), (text(dst), dport)), end
    header = bytes(data[:end])
    tlvs = _read_tlvs(header, FIXED_SIZE + block)
    key_id = translated = None
    if keys is not None:
        key_id = auth.verify(header, tlvs, FIXED_SIZE + block, keys, window, now)
        translated = translated_source(tlvs, len(src))
    source, destination = (text(src), sport), (text(dst), dport)
    return Header(2, _PROXY, source, destination, tlvs, key_id, translated), end


def _decode_unused(
    data: Buffer, max_size: int, transport: Transport, keys: auth.KeyRing | None
) -> tuple[Header, int] | None:
    """Decodes headers whose addresses are not used, incomplete ones, and those to refuse."""
    start = bytes(data[:FIXED_SIZE])
    size = len(start)
    if not SIGNATURE.startswith(start[:12]):
        raise OriginError(Reason.NO_HEADER)
    if size < 13:
        return None
    command = _command(start[12], keys)
    if size < 14:
        return None
    block = _block_size(start[13], transport, keys) if command is _PROXY else 0
    if size < FIXED_SIZE:
        if size == 15:  # The length's first byte is there: the length is at least that times 256.
            _refuse_length(start[14] << 8, 0, max_size)
        return None
    length = start[14] << 8 | start[15]
    _refuse_length(length, block, max_size)
    end = FIXED_SIZE + length
    if len(data) < end:
        return None
    # For LOCAL and an unspecified family the specification does not say that TLVs follow.
    tlvs = _read_tlvs(bytes(data[:end]), FIXED_SIZE + block) if block else ()
    return Header(2, command, None, None, tlvs), end


def _command(byte: int, keys: auth.KeyRing | None) -> Command:
    if byte & 0xF0 != _VERSION_2:
        raise OriginError(Reason.BAD_VERSION, f"version {byte >> 4}")
    if byte & 0x0F > Command.PROXY:
        raise OriginError(Reason.BAD_COMMAND, f"command {byte & 0x0F}")
    command = Command(byte & 0x0F)
    if keys is not None and command is Command.LOCAL:
        raise OriginError(Reason.AUTH_LOCAL)
    return command


def _block_size(byte: int, transport: Transport, keys: auth.KeyRing | None) -> int:
    """Bytes of addresses behind the family byte; 0 when the family is unspecified."""
    family, protocol = byte >> 4, byte & 0x0F
    if family >= len(_BLOCK_SIZES):
        raise OriginError(Reason.BAD_FAMILY, f"family {family}")
    if protocol > Transport.DGRAM:
        raise OriginError(Reason.BAD_PROTOCOL, f"protocol {protocol}")
    if keys is not None and (byte & 0xF0 not in _FAMILIES or protocol != transport):
        raise OriginError(Reason.AUTH_UNSPEC, f"family and protocol 0x{byte:02x}")
    return _BLOCK_SIZES[family]


def _refuse_length(length: int, block: int, max_size: int) -> None:
    if FIXED_SIZE + length > max_size:
        raise OriginError(Reason.HEADER_TOO_LONG, f"more than {max_size} bytes")
    if length < block:
        raise OriginError(Reason.SHORT_ADDRESS, f"{length} bytes, the addresses need {block}")


def _read_tlvs(header: bytes, start: int) -> tlv.Tlvs:
    """The TLVs from `start` to the header's end. Verifies a checksum among them."""
    tlvs = tlv.parse(header[start:])
    spans = tlv.value_spans(tlvs, tlv.CRC32C, start)
    if not spans:
        return tlvs
    (span, *more) = spans
    if more or span.stop - span.start != _CHECKSUM.size:
        raise OriginError(Reason.BAD_CRC, "not one checksum of four bytes")
    (expected,) = _CHECKSUM.unpack(header[span])
    if checksum(header[: span.start] + bytes(_CHECKSUM.size) + header[span.stop :]) != expected:
        raise OriginError(Reason.BAD_CRC, "the checksum does not match")
    return tlvs


def encode_v2(
    src: Address | None,
    dst: Address | None,
    *,
    tlvs: Iterable[tuple[int, bytes]] = (),
    transport: Transport = Transport.STREAM,
    crc32c: bool = False,
    key: auth.Key | None = None,
    now: float | None = None,
) -> bytes:
    """The header of a connection from `src` to `dst`; UNSPEC when an address is None.

    If one address is IPv6, the family is INET6 and the other one is v4-mapped. `key` adds the
    authentication TLV with the time `now` (Unix seconds, default: the clock's), `crc32c` adds the
    checksum; both are behind `tlvs`. ValueError for a bad address or port, for a TLV in `tlvs` that
    is to be added, for a header over 65551 bytes, and for a time outside 0..2**32-1.
    """
    family, block = 0, b""
    if src is not None and dst is not None:
        hosts = pack_pair(src[0], dst[0])
        family, layout = (0x10, _INET) if len(hosts[0]) == 4 else (0x20, _INET6)
        family |= transport
        try:
            block = layout.pack(*hosts, src[1], dst[1])
        except struct_error:
            raise ValueError(f"not a port: {src[1]} or {dst[1]}") from None
    return _assemble(Command.PROXY, family, block, tuple(tlvs), crc32c, key, now)


def encode_local(*, tlvs: Iterable[tuple[int, bytes]] = (), crc32c: bool = False) -> bytes:
    """The header of a connection that is the sender's own, such as a health check.

    It cannot be signed: receivers with keys refuse LOCAL. ValueError as from encode_v2.
    """
    return _assemble(Command.LOCAL, 0, b"", tuple(tlvs), crc32c, None, None)


def _assemble(
    command: Command,
    family: int,
    block: bytes,
    tlvs: tlv.Tlvs,
    crc32c: bool,
    key: auth.Key | None,
    now: float | None,
) -> bytes:
    given = {kind for kind, _ in tlvs}
    if (key and tlv.AUTH in given) or (crc32c and tlv.CRC32C in given):
        raise ValueError("a TLV that is to be added is there already")
    if key:
        tlvs += ((tlv.AUTH, auth.unsigned_value(key, now)),)
    if crc32c:
        tlvs += ((tlv.CRC32C, bytes(_CHECKSUM.size)),)
    rest = block + tlv.encode(tlvs)
    if len(rest) > 0xFFFF:
        raise ValueError(f"a header holds 65535 bytes of addresses and TLVs, not {len(rest)}")
    header = bytearray(_FIXED.pack(SIGNATURE, _VERSION_2 | command, family, len(rest)) + rest)
    if key:
        auth.sign(header, tlvs, FIXED_SIZE + len(block), key)
    if crc32c:
        header[-_CHECKSUM.size :] = _CHECKSUM.pack(checksum(header))
    return bytes(header)

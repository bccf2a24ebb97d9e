# SPDX-License-Identifier: MIT
"""TCP segments, ICMP messages and IP fragments as bytes, without any state of a connection.

A `Segment` is one to send, which may be wrong on purpose, or one that was received.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_TCP,
    inet_ntop,
    inet_pton,
)

from tests.kernel.guest.places import Address

FLAGS = "FSRPAUEC"
"""Bit 0 is FIN."""

TTL = 64

CHECKSUM_AT = 16
"""Where the checksum is in a TCP header."""

_TCP = struct.Struct("!HHIIBBHHH")
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_FRAGMENT6 = 44


@dataclass(frozen=True)
class Segment:
    """A TCP segment. Numbers are modulo 2^32."""

    source: Address
    destination: Address
    flags: str = "A"
    """Letters of FLAGS."""
    seq: int = 0
    ack: int = 0
    data: bytes = b""
    window: int = 65535
    options: bytes = b""
    """A multiple of four bytes."""
    urgent: int = 0
    ttl: int = TTL
    bad_checksum: bool = False
    accurate: bool = False
    """The flag AE, which is not among FLAGS because it is in another byte."""

    @property
    def end(self) -> int:
        """The sequence number after the segment."""
        return (self.seq + len(self.data) + ("S" in self.flags) + ("F" in self.flags)) % 2**32

    def packet(self) -> bytes:
        """The segment with its IP header."""
        return ip_packet(self.source[0], self.destination[0], IPPROTO_TCP, self._tcp(), self.ttl)

    def offloaded(self) -> bytes:
        """The packet with a TCP checksum that is left to the device."""
        tcp = bytearray(self._tcp())
        pseudo = _pseudo_header(self.source[0], self.destination[0], IPPROTO_TCP, len(tcp))
        struct.pack_into("!H", tcp, CHECKSUM_AT, checksum(pseudo) ^ 0xFFFF)
        return ip_packet(self.source[0], self.destination[0], IPPROTO_TCP, bytes(tcp), self.ttl)

    def fragments(self, size: int) -> list[bytes]:
        """The segment in IP fragments of `size` payload bytes, a multiple of eight."""
        return fragments(self.source[0], self.destination[0], IPPROTO_TCP, self._tcp(), size)

    def _tcp(self) -> bytes:
        header = _TCP.pack(
            self.source[1],
            self.destination[1],
            self.seq % 2**32,
            self.ack % 2**32,
            (_TCP.size + len(self.options)) // 4 << 4 | self.accurate,
            sum(1 << FLAGS.index(flag) for flag in self.flags),
            self.window,
            0,
            self.urgent,
        )
        whole = bytearray(header + self.options + self.data)
        pseudo = _pseudo_header(self.source[0], self.destination[0], IPPROTO_TCP, len(whole))
        struct.pack_into("!H", whole, CHECKSUM_AT, checksum(pseudo + whole) ^ self.bad_checksum)
        return bytes(whole)


def parse(packet: bytes) -> Segment | None:
    """The TCP segment in `packet`, or None. It does not check checksums: a veth may leave them
    incomplete.
    """
    if packet[0] >> 4 == 4:
        start, end = (packet[0] & 15) * 4, int.from_bytes(packet[2:4], "big")
        protocol, family, hosts = packet[9], AF_INET, (packet[12:16], packet[16:20])
    else:
        start, end = _IPV6.size, _IPV6.size + int.from_bytes(packet[4:6], "big")
        protocol, family, hosts = packet[6], AF_INET6, (packet[8:24], packet[24:40])
    if protocol != IPPROTO_TCP or len(packet) < start + _TCP.size:
        return None
    source, destination, seq, ack, offset, flags, window, _, urgent = _TCP.unpack_from(
        packet, start
    )
    payload = start + (offset >> 4) * 4
    text = (inet_ntop(family, host) for host in hosts)
    return Segment(
        (next(text), source),
        (next(text), destination),
        "".join(letter for bit, letter in enumerate(FLAGS) if flags >> bit & 1),
        seq,
        ack,
        packet[payload:end],
        window,
        packet[start + _TCP.size : payload],
        urgent,
        accurate=bool(offset & 1),
    )


def mss(size: int) -> bytes:
    return struct.pack("!BBH", 2, 4, size)


def window_scale(shift: int) -> bytes:
    return bytes((1, 3, 3, shift))


def timestamps(value: int) -> bytes:
    """The option, with an echo of 0."""
    return struct.pack("!HBBII", 0x0101, 8, 10, value, 0)


def fast_open(cookie: bytes = b"") -> bytes:
    """The option, with a cookie of six bytes or with a request for one."""
    option = bytes((34, 2 + len(cookie))) + cookie
    return b"\x01" * (-len(option) % 4) + option


def echo(source: str, destination: str, mark: int) -> bytes:
    """A packet with an ICMP echo request."""
    v6 = _is_v6(source)
    body = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, mark >> 16, mark & 0xFFFF)
    return icmp_packet(source, destination, body)


def echo_replied(packet: bytes) -> int:
    """The `mark` of the echo request that the packet answers, or 0."""
    v4 = packet[0] >> 4 == 4
    start, protocol, kind = (20, packet[9], 0) if v4 else (40, packet[6], 129)
    if protocol not in (IPPROTO_ICMP, IPPROTO_ICMPV6) or packet[start] != kind:
        return 0
    return int.from_bytes(packet[start + 4 : start + 8], "big")


def icmp_error(
    source: str, destination: str, kind: int, code: int, word: int, about: bytes
) -> bytes:
    """A packet with an ICMP error that quotes `about`; `word` is the header's second word."""
    body = struct.pack("!BBHI", kind, code, 0, word) + about[:576]
    return icmp_packet(source, destination, body)


def icmp_packet(source: str, destination: str, body: bytes) -> bytes:
    """`body` has a checksum of zero, which is filled in."""
    protocol = IPPROTO_ICMPV6 if _is_v6(source) else IPPROTO_ICMP
    pseudo = b""
    if protocol == IPPROTO_ICMPV6:
        pseudo = _pseudo_header(source, destination, protocol, len(body))
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    return ip_packet(source, destination, protocol, body)


def ip_packet(
    source: str, destination: str, protocol: int, body: bytes, ttl: int = TTL, fragment: int = 0
) -> bytes:
    """`fragment` is IPv4's field of flags and fragment offset."""
    if _is_v6(source):
        header = (6 << 28, len(body), protocol, ttl, _raw(source), _raw(destination))
        return _IPV6.pack(*header) + body
    length = _IPV4.size + len(body)
    fields = (0x45, 0, length, 0x6161, fragment, ttl, protocol)
    hosts = (_raw(source), _raw(destination))
    return _IPV4.pack(*fields, checksum(_IPV4.pack(*fields, 0, *hosts)), *hosts) + body


def fragments(source: str, destination: str, protocol: int, body: bytes, size: int) -> list[bytes]:
    """`body` in IP fragments of `size` bytes."""
    return [
        fragment(source, destination, protocol, body[at : at + size], at, at + size < len(body))
        for at in range(0, len(body), size)
    ]


def fragment(
    source: str, destination: str, protocol: int, piece: bytes, offset: int, more: bool
) -> bytes:
    """`piece` as the fragment at `offset` of a body; the last has no `more`."""
    if not _is_v6(source):
        return ip_packet(source, destination, protocol, piece, TTL, more << 13 | offset >> 3)
    extension = struct.pack("!BBHI", protocol, 0, offset | more, 0x6161)
    return ip_packet(source, destination, _FRAGMENT6, extension + piece)


def checksum(data: bytes) -> int:
    """The Internet checksum of RFC 1071."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) & ~1]))
    total += data[-1] << 8 if len(data) & 1 else 0
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def _pseudo_header(source: str, destination: str, protocol: int, length: int) -> bytes:
    layout = "!II" if _is_v6(source) else "!HH"
    lengths = (length, protocol) if _is_v6(source) else (protocol, length)
    return _raw(source) + _raw(destination) + struct.pack(layout, *lengths)


def _is_v6(host: str) -> bool:
    return ":" in host


def _raw(host: str) -> bytes:
    return inet_pton(AF_INET6 if _is_v6(host) else AF_INET, host)

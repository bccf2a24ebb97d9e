# SPDX-License-Identifier: MIT
"""The attacker's end of the client's wire, which sends and receives whole packets.

No namespace has the attacker's addresses, so the client's kernel drops what arrives for them and
answers nothing. On one processor send() returns after the packet has gone all its way, through both
network stacks and back, because that is one chain of soft interrupts. `fence` does not rely on it:
it sends an echo request after the packets and waits for the reply.
"""

from __future__ import annotations

import itertools
import select
import struct
import time
from socket import AF_PACKET, SOCK_RAW

from tests.kernel.guest.lab import Lab

from .segment import CHECKSUM_AT, Segment, echo, echo_replied, parse

ATTACKER = {4: "10.61.1.66", 6: "fd61:1::66"}

ETHERTYPE = {4: 0x0800, 6: 0x86DD}

_CLIENT_HARDWARE = bytes.fromhex("026100000102")
_GATEWAY_HARDWARE = bytes.fromhex("026100000101")
"""The hardware addresses that lab.py sets."""

_IP_HEADER, _TCP_HEADER = {4: 20, 6: 40}, 20
"""Lengths without options, by IP version."""

SOL_PACKET, PACKET_VNET_HDR = 263, 15

_VNET_HEADER = struct.Struct("=BBHHHH")
"""struct virtio_net_hdr: flags, kind, length of headers, segment size, checksum's start and
place."""

_NEEDS_CHECKSUM, _GSO_TCP = 1, {4: 1, 6: 4}

_FENCE_LIMIT = 20.0
"""Seconds; only a broken lab takes so long."""


class AttackWire:
    """The attacker's address and raw socket for one IP version."""

    def __init__(self, lab: Lab, version: int) -> None:
        self.address = ATTACKER[version]
        self._version = version
        ethertype = ETHERTYPE[version]
        self._ethernet = _GATEWAY_HARDWARE + _CLIENT_HARDWARE + ethertype.to_bytes(2, "big")
        self._socket = lab.client.socket(AF_PACKET, SOCK_RAW, 0)
        # Bound to one protocol: a socket for all protocols would also see what it sends.
        self._socket.bind(("c0", ethertype))
        hardware = ":".join(f"{byte:02x}" for byte in _CLIENT_HARDWARE)
        lab.gateway.batch("ip", f"neigh replace {self.address} lladdr {hardware} dev gc")
        self._marks = itertools.count(1)
        self._received: list[Segment] = []
        self._echoed = 0

    def close(self) -> None:
        self._socket.close()

    def send(self, *packets: bytes) -> None:
        """Sends the packets in this order."""
        for packet in packets:
            self._socket.send(self._ethernet + packet)
            self._take()  # otherwise replies may fill the receive buffer

    def send_joined(self, segment: Segment, size: int) -> None:
        """Sends a segment of up to 64 KB as one packet, as if a device had joined it from segments
        of `size` bytes."""
        tcp = len(self._ethernet) + _IP_HEADER[self._version]
        kind, end = _GSO_TCP[self._version], tcp + _TCP_HEADER
        header = _VNET_HEADER.pack(_NEEDS_CHECKSUM, kind, end, size, tcp, CHECKSUM_AT)
        self._socket.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        try:
            self._socket.send(header + self._ethernet + segment.offloaded())
        finally:
            self._socket.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 0)
        self._take()

    def repeat(self, times: int, *packets: bytes) -> None:
        """Sends the packets so many times, as fast as it can. For a thread; nothing may answer."""
        frames = [self._ethernet + packet for packet in packets]
        for _ in range(times):
            for frame in frames:
                self._socket.send(frame)

    def fence(self, host: str) -> None:
        """Waits until `host` has handled all that was sent before and its answers have arrived."""
        mark = next(self._marks)
        self.send(echo(self.address, host, mark))
        end = time.monotonic() + _FENCE_LIMIT
        while self._echoed != mark:
            left = end - time.monotonic()
            if left < 0:
                raise TimeoutError(f"no echo from {host}")
            select.select([self._socket], [], [], left)
            self._take()

    def received(self) -> list[Segment]:
        """The segments that arrived since the last call."""
        self._take()
        taken, self._received = self._received, []
        return taken

    def _take(self) -> None:
        """Reads all packets that have arrived."""
        while True:
            try:
                packet = self._socket.recv(1 << 16)[14:]
            except BlockingIOError:
                return
            if segment := parse(packet):
                self._received.append(segment)
            else:
                self._echoed = echo_replied(packet) or self._echoed

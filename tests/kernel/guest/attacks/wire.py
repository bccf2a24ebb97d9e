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
import time
from socket import AF_PACKET, SOCK_RAW

from tests.kernel.guest.lab import Lab

from .segment import Segment, echo, echo_replied, parse

ATTACKER = {4: "10.61.1.66", 6: "fd61:1::66"}

ETHERTYPE = {4: 0x0800, 6: 0x86DD}

_CLIENT_HARDWARE = bytes.fromhex("026100000102")
_GATEWAY_HARDWARE = bytes.fromhex("026100000101")
"""The hardware addresses that lab.py sets."""

_FENCE_LIMIT = 20.0
"""Seconds; only a broken lab takes so long."""


class AttackWire:
    """The attacker's address and raw socket for one IP version."""

    def __init__(self, lab: Lab, version: int) -> None:
        self.address = ATTACKER[version]
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

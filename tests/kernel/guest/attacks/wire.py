# SPDX-License-Identifier: MIT
"""The attacker's end of the client's wire: packets go in and come out as they are.

The addresses belong to nobody: the client's kernel drops what arrives for them, and so answers
nothing. All is done when a packet has been sent: on one processor, a packet's whole way over the
virtual wires and through both kernels' stacks and back is one chain of soft interrupts that runs
before send() returns. `fence` does not rely on it, it sends an echo behind and waits for the reply.
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
"""As lab.py gives them."""

_FENCE_LIMIT = 20.0
"""Seconds; only a broken lab takes so long."""


class Wire:
    """One IP version's."""

    def __init__(self, lab: Lab, version: int) -> None:
        self.address = ATTACKER[version]
        ethertype = ETHERTYPE[version]
        self._ethernet = _GATEWAY_HARDWARE + _CLIENT_HARDWARE + ethertype.to_bytes(2, "big")
        self._socket = lab.client.socket(AF_PACKET, SOCK_RAW, 0)
        # A protocol, and not all: so it does not see what is sent here.
        self._socket.bind(("c0", ethertype))
        hardware = ":".join(f"{byte:02x}" for byte in _CLIENT_HARDWARE)
        lab.gateway.batch("ip", f"neigh replace {self.address} lladdr {hardware} dev gc")
        self._marks = itertools.count(1)
        self._received: list[Segment] = []
        self._echoed = 0

    def close(self) -> None:
        """No more packets."""
        self._socket.close()

    def send(self, *packets: bytes) -> None:
        """In this order."""
        for packet in packets:
            self._socket.send(self._ethernet + packet)
            self._take()  # or the buffer for what comes back is full before it is read

    def fence(self, host: str) -> None:
        """Until `host` has dealt with all that was sent before, and its answers are here."""
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
        """The segments that have come since the last call."""
        self._take()
        taken, self._received = self._received, []
        return taken

    def _take(self) -> None:
        """Reads all that is there."""
        while True:
            try:
                packet = self._socket.recv(1 << 16)[14:]
            except BlockingIOError:
                return
            if segment := parse(packet):
                self._received.append(segment)
            else:
                self._echoed = echo_replied(packet) or self._echoed

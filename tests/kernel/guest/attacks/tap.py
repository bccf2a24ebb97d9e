# SPDX-License-Identifier: MIT
"""What arrives at a server that is another host, as it comes from the wire."""

from __future__ import annotations

from socket import AF_PACKET, SOCK_RAW

from tests.kernel.guest.net import Namespace

from .peer import Peer
from .segment import Segment, parse
from .wire import ETHERTYPE


class Tap:
    """A context manager. It sees packets before the rules of the server, also those that are lost
    there."""

    def __init__(self, server: Namespace, version: int) -> None:
        self._socket = server.socket(AF_PACKET, SOCK_RAW, 0)
        self._socket.bind(("s0", ETHERTYPE[version]))

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def arrived(self, peer: Peer) -> list[Segment]:
        """The segments of this client since the last call, SYNs excepted."""
        found: list[Segment] = []
        while True:
            try:
                segment = parse(self._socket.recv(1 << 16)[14:])
            except BlockingIOError:
                return found
            if segment and segment.source[1] == peer.source[1] and "S" not in segment.flags:
                found.append(segment)

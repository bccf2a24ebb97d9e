# SPDX-License-Identifier: MIT
"""The attacked server: a listener of the kernel, and an application that the case controls."""

from __future__ import annotations

import array
import fcntl
import struct
from socket import AF_INET, AF_INET6, IPPROTO_TCP, SHUT_WR, SO_LINGER, SO_OOBINLINE, SOL_SOCKET
from socket import socket as Socket
from termios import TIOCOUTQ

from tests.kernel.guest.kernel import TIME_WAIT
from tests.kernel.guest.net import Namespace
from tests.kernel.guest.places import Address
from tests.kernel.guest.talk import plain_listener

TCP_REPAIR = 19

KEPT = 1 << 16
"""How many bytes of a stream are kept."""


class Accepted:
    """An accepted connection. `received` is the beginning of its stream."""

    def __init__(self, sock: Socket, peer: Address) -> None:
        self._socket = sock
        sock.setblocking(False)
        # Otherwise the byte at an urgent pointer would be missing from the stream.
        sock.setsockopt(SOL_SOCKET, SO_OOBINLINE, 1)
        self.peer = peer
        self.received = bytearray()
        self.ended = ""
        """How the connection ended for the application; empty while it is open."""

    @property
    def open(self) -> bool:
        """Whether the application still has the socket."""
        return self._socket.fileno() >= 0

    def read(self) -> None:
        """Reads all that has arrived."""
        while self.open and not self.ended:
            try:
                data = self._socket.recv(KEPT)
            except BlockingIOError:
                return
            except OSError as e:
                self.ended = e.strerror or "error"
                return
            self.received += data[: KEPT - len(self.received)]
            if not data:
                self.ended = "eof"

    def send(self, size: int) -> None:
        """Sends an answer of `size` bytes, or records why it cannot."""
        try:
            self._socket.send(b"S" * size)
        except OSError as e:
            self.ended = self.ended or e.strerror or "error"

    def unacknowledged(self) -> int:
        """How many sent bytes the client has not acknowledged."""
        count = array.array("i", [0])
        fcntl.ioctl(self._socket, TIOCOUTQ, count)
        return count[0]

    def finish(self) -> None:
        """Sends a FIN; reading goes on."""
        try:
            self._socket.shutdown(SHUT_WR)
        except OSError as e:
            self.ended = self.ended or e.strerror or "error"

    def close(self) -> None:
        """Closes the socket. With unread data the kernel sends an RST."""
        self._socket.close()

    def abort(self) -> None:
        """Closes with an RST."""
        if self.open:
            self._socket.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            self._socket.close()

    def vanish(self) -> None:
        """Makes the kernel forget the connection without a packet, as after the timeout of
        FIN_WAIT2 or of retransmissions, or when its RST is lost.
        """
        if self.open:
            self._socket.setsockopt(IPPROTO_TCP, TCP_REPAIR, 1)
            self._socket.close()


class Server:
    """Listens on every address of the family."""

    def __init__(self, space: Namespace, version: int) -> None:
        self._space = space
        self._listener = plain_listener(space, AF_INET if version == 4 else AF_INET6)
        self.accepted: list[Accepted] = []
        """In the order of accept()."""

    def serve(self) -> None:
        """Accepts and reads all that has arrived."""
        while True:
            try:
                sock, peer = self._listener.accept()
            except BlockingIOError:
                break
            self.accepted.append(Accepted(sock, peer[:2]))
        for each in self.accepted:
            each.read()

    def lingering(self, peer: Address) -> bool:
        """Whether the kernel has a socket for this peer that is not in TIME_WAIT."""
        table = self._space.proc("tcp") + self._space.proc("tcp6")
        rows = (line.split() for line in table.splitlines() if "local" not in line)
        return any(row[2].endswith(f":{peer[1]:04X}") and row[3] != TIME_WAIT for row in rows)

    def close(self) -> None:
        """Closes the listener, and resets every connection."""
        for each in self.accepted:
            each.abort()
        self._listener.close()

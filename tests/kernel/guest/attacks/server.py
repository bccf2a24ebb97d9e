# SPDX-License-Identifier: MIT
"""The victim: a listener of the kernel's, and an application that does what the case wants."""

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
"""Bytes of a stream that are kept."""


class Accepted:
    """A connection that the listener has accepted. `received` is how its stream begins."""

    def __init__(self, sock: Socket, peer: Address) -> None:
        self._socket = sock
        sock.setblocking(False)
        # Or the byte that an urgent pointer names would be missing.
        sock.setsockopt(SOL_SOCKET, SO_OOBINLINE, 1)
        self.peer = peer
        self.received = bytearray()
        self.ended = ""
        """How it ended, as the application saw it."""

    @property
    def open(self) -> bool:
        """The application still has it."""
        return self._socket.fileno() >= 0

    def read(self) -> None:
        """All that is there."""
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
        """An answer of `size` bytes; as far as it can still be sent."""
        try:
            self._socket.send(b"S" * size)
        except OSError as e:
            self.ended = self.ended or e.strerror or "error"

    def unacknowledged(self) -> int:
        """Bytes that it has sent and the client, as far as it knows, has not received."""
        count = array.array("i", [0])
        fcntl.ioctl(self._socket, TIOCOUTQ, count)
        return count[0]

    def finish(self) -> None:
        """Sends the FIN, and reads on."""
        try:
            self._socket.shutdown(SHUT_WR)
        except OSError as e:
            self.ended = self.ended or e.strerror or "error"

    def close(self) -> None:
        """As any application does; with data unread, the kernel sends an RST."""
        self._socket.close()

    def abort(self) -> None:
        """Closes with an RST."""
        if self.open:
            self._socket.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            self._socket.close()

    def vanish(self) -> None:
        """The kernel forgets the connection without a word, as it does when FIN_WAIT2 or the
        retransmissions have lasted too long, or when the RST that it sends is lost.
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
        """In their order."""

    def pump(self) -> None:
        """Accepts and reads all that is there."""
        while True:
            try:
                sock, peer = self._listener.accept()
            except BlockingIOError:
                break
            self.accepted.append(Accepted(sock, peer[:2]))
        for each in self.accepted:
            each.read()

    def lingering(self, peer: Address) -> bool:
        """The kernel has a socket for this peer that is not yet gone or in TIME_WAIT."""
        table = self._space.proc("tcp") + self._space.proc("tcp6")
        rows = (line.split() for line in table.splitlines() if "local" not in line)
        return any(row[2].endswith(f":{peer[1]:04X}") and row[3] != TIME_WAIT for row in rows)

    def close(self) -> None:
        """And every connection, at once."""
        for each in self.accepted:
            each.abort()
        self._listener.close()

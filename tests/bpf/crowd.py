# SPDX-License-Identifier: MIT
"""Many connections at a time through the gateway, for tests that change the program meanwhile.

Each client sends data, the server reads header and data, answers and closes. Headers and data are
checked, and the ways in which connections end are counted.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import threading
import time
from collections import Counter

from ctwsgi.errors import OriginError
from ctwsgi.wire import proxy
from tests.lab import draw_destination
from tests.namespaces import entered

from .gateway import Gateway

PATIENCE = 70.0
"""Seconds after which a connection counts as hanging. With 5 % loss TCP needs less."""

SYNS = 5
"""Retransmissions of a SYN before the client gives up with ETIMEDOUT, at the latest after 63 s."""

REQUEST, ANSWER = b"request", b"answer"


def lose(gateway: Gateway, percent: int) -> None:
    """Drop `percent` of the packets on both sides of the gateway, in both directions."""
    for host, device in (("client", "gateway"), ("gateway", "client"), ("gateway", "server")):
        node = getattr(gateway.lab, host)
        node.nft(
            f"table netdev lose_{device} {{\n chain in {{\n type filter hook ingress device"
            f' "{device}" priority -500;\n numgen random mod 100 < {percent} drop\n }}\n}}\n'
        )


class Crowd:
    """Dials during the `with` block, with `at_once` connections at a time.

    At its end no new connection is made, and it waits until all others have ended.
    """

    def __init__(self, gateway: Gateway, listener: socket.socket, at_once: int) -> None:
        self._path = f"/proc/{gateway.lab.keeper}/root/run/netns/client"
        self._listener = listener
        self._at_once = at_once
        self._over = threading.Event()
        self._gone = threading.Event()
        self._dialled: dict[socket.socket, float | None] = {}
        """When each client was connected; None: not yet, since SYNs may be dropped for long."""
        self.sound = 0
        """Number of connections with a true header and the client's data."""
        self.ends: Counter[str] = Counter()
        """The ways in which connections ended for clients: "eof", or the name of an error."""
        self.wrong: list[str] = []

    def __enter__(self) -> Crowd:
        self._listener.listen(4096)
        self._listener.setblocking(False)
        self._threads = [threading.Thread(target=self._dial), threading.Thread(target=self._serve)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._threads[0].join()
        self._gone.set()
        self._threads[1].join()

    # ---- the clients ----

    def _dial(self) -> None:
        with entered(self._path), selectors.DefaultSelector() as selector:
            while self._dialled or not self._over.is_set():
                while len(self._dialled) < self._at_once and not self._over.is_set():
                    self._connect(selector)
                for key, _ in selector.select(0.1):
                    self._go_on(selector, key.fileobj)  # type: ignore[arg-type]
                self._give_up(selector)

    def _connect(self, selector: selectors.BaseSelector) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, SYNS)
        sock.connect_ex(draw_destination(4))
        self._dialled[sock] = None
        selector.register(sock, selectors.EVENT_WRITE)

    def _go_on(self, selector: selectors.BaseSelector, sock: socket.socket) -> None:
        try:
            if selector.get_key(sock).events == selectors.EVENT_WRITE:
                sock.send(REQUEST)
                self._dialled[sock] = time.monotonic()
                selector.modify(sock, selectors.EVENT_READ)
            elif not sock.recv(100):
                self._ended(selector, sock, "eof")
        except OSError as e:
            self._ended(selector, sock, errno.errorcode[e.errno or 0])

    def _ended(self, selector: selectors.BaseSelector, sock: socket.socket, how: str) -> None:
        selector.unregister(sock)
        del self._dialled[sock]
        sock.close()
        self.ends[how] += 1

    def _give_up(self, selector: selectors.BaseSelector) -> None:
        now = time.monotonic()
        for sock, since in [*self._dialled.items()]:
            if since is None and self._over.is_set():
                self._dialled[sock] = now
            elif since is not None and now - since > PATIENCE:
                # The kernel's number: 1 is ESTABLISHED, 2 is SYN_SENT.
                state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
                self.wrong.append(f"client {sock.getsockname()} hangs in state {state}")
                self._ended(selector, sock, "hangs")

    # ---- the server ----

    def _serve(self) -> None:
        """Serve until every accepted connection has ended."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            end = None
            while not self._gone.is_set() or len(selector.get_map()) > 1:
                if self._gone.is_set():
                    end = end or time.monotonic() + PATIENCE
                    if time.monotonic() > end:
                        self.wrong.append(f"{len(selector.get_map()) - 1} hang at the server")
                        break
                for key, _ in selector.select(0.1):
                    if key.fileobj is self._listener:
                        self._accept(selector)
                    else:
                        self._read(selector, key.fileobj, key.data)  # type: ignore[arg-type]
            for key in [*selector.get_map().values()][1:]:
                key.fileobj.close()  # type: ignore[union-attr]

    def _accept(self, selector: selectors.BaseSelector) -> None:
        with contextlib.suppress(BlockingIOError):
            sock, _ = self._listener.accept()
            sock.setblocking(False)
            selector.register(sock, selectors.EVENT_READ, bytearray())

    def _read(
        self, selector: selectors.BaseSelector, sock: socket.socket, stream: bytearray
    ) -> None:
        over = False
        try:
            piece = sock.recv(4096)
            stream += piece
            over = not piece
            if piece and self._is_complete(sock, stream):
                sock.send(ANSWER)
                sock.shutdown(socket.SHUT_WR)
        except OSError as e:
            # The connection was reset, which may happen before the client has sent data.
            over = True
            if e.errno not in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):
                self.wrong.append(f"server: {e}")
        if over:
            selector.unregister(sock)
            sock.close()

    def _is_complete(self, sock: socket.socket, stream: bytearray) -> bool:
        """Whether the data is complete. The first read must return a whole and true header."""
        try:
            found = proxy.decode(bytes(stream), versions=(2,))
        except OriginError as e:
            self.wrong.append(f"server read {bytes(stream[:60])!r}: {e}")
            return False
        # Not compared with the peer's port, which NAT may have changed.
        if not found or found[0].src is None or found[0].src[0] != sock.getpeername()[0]:
            self.wrong.append(f"server read {bytes(stream[:60])!r}")
            return False
        complete = bytes(stream[found[1] :]) == REQUEST
        self.sound += complete
        return complete

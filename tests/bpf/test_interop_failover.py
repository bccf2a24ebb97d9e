# SPDX-License-Identifier: MIT
"""Failover to a second gateway, with conntrackd: which connections go on, and which are lost."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator

import pytest

from ctwsgi.wire.auth import KeyRing
from tests.lab import draw_destination, until

from .available import unavailable
from .gateway import read_header
from .pair import Pair
from .pair import unavailable as no_conntrackd

pytestmark = [
    pytest.mark.skipif(bool(reason), reason=str(reason))
    for reason in (unavailable(), no_conntrackd())
]

PORT = 8080
KEY = "4 " + "a1" * 16
RING = KeyRing.parse(KEY)
MODES = {"ftfw": ("FTFW", False), "notrack-direct": ("NOTRACK", True)}


@pytest.fixture(params=MODES)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    mode, direct = MODES[request.param]
    with Pair(mode, direct=direct, key=KEY) as pair:
        yield pair


def visit(pair: Pair, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    """Make a connection, check its signed header, and return both ends."""
    destination = draw_destination(4)
    client = pair.lab.client.connect(destination)
    accepted, _ = listener.accept()
    header, rest = read_header(accepted, RING)
    assert (header.dst, header.src, header.auth) == (destination, client.getsockname(), 4)
    assert not rest
    return client, accepted


class Flood:
    """Sends bytes in one direction until end(); sender and receiver keep a digest."""

    def __init__(self, sender: socket.socket, receiver: socket.socket) -> None:
        self.sent, self.received = hashlib.sha256(), hashlib.sha256()
        self.size = 0
        self._over = threading.Event()
        self._ends = sender, receiver
        self._threads = [threading.Thread(target=f) for f in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self) -> None:
        wanted = self.size + 500_000
        until(lambda: self.size >= wanted, "bytes that flow")

    def _send(self) -> None:
        number = 0
        while not self._over.is_set():
            piece = hashlib.shake_128(b"%d" % number).digest(20_000)
            self._ends[0].sendall(piece)
            self.sent.update(piece)
            number += 1
        self._ends[0].shutdown(socket.SHUT_WR)

    def _receive(self) -> None:
        while piece := self._ends[1].recv(1 << 16):
            self.received.update(piece)
            self.size += len(piece)


def test_what_is_established_goes_on(pair: Pair) -> None:
    """A transfer in both directions goes on without damage, and new connections get headers."""
    with pair.listen(PORT) as listener:
        client, accepted = visit(pair, listener)
        with client, accepted:
            floods = [Flood(client, accepted), Flood(accepted, client)]
            for flood in floods:
                flood.wait_for_more()
            pair.wait_until_known(client)
            pair.fail_over()
            for flood in floods:
                flood.wait_for_more()
            for flood in floods:
                flood.end()
                assert flood.sent.digest() == flood.received.digest()
        for end in visit(pair, listener):
            end.close()
    counters = pair.counters(pair.lab.two)
    assert counters["existing"]
    assert counters["ctproxy_headers"] == 1
    # Until the standby's kernel has the conntrack entry, replies reach the client untranslated. The
    # client answers them with RSTs, which have to be dropped, or the connection ends.
    drops = {name for name in counters if name.startswith("drop_")}
    assert drops <= {"drop_untracked"}, drops


def test_what_is_opening_is_lost(pair: Pair) -> None:
    """The server reads no byte of it, since the header is missing; the client dials again."""
    drop_headers = "table ip lose {\n chain in {\n type filter hook input priority -300;\n"
    with pair.listen(PORT) as listener:
        pair.lab.server.nft(f"{drop_headers} tcp dport {PORT} ip length > 80 counter drop\n }}\n}}")
        with pair.lab.client.connect(draw_destination(4)) as client:
            pair.wait_until_known(client)
            client.sendall(b"no header before me")
            pair.fail_over()
            pair.lab.server.nft("delete table ip lose")
            accepted, _ = listener.accept()
            with accepted:
                until(lambda: _out_of_order(pair), "data that waits for what is missing")
                accepted.setblocking(False)
                with pytest.raises(BlockingIOError):
                    accepted.recv(100)
        for end in visit(pair, listener):
            end.close()


def _out_of_order(pair: Pair) -> int:
    """Number of segments that the server's TCP has queued (TCPOFOQueue in /proc/net/netstat)."""
    lines = pair.lab.server.run(["cat", "/proc/net/netstat"]).stdout.splitlines()
    names, values = (line.split() for line in lines if line.startswith("TcpExt:"))
    return int(values[names.index("TCPOFOQueue")])

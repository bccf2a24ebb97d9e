# SPDX-License-Identifier: MIT
"""The server's limits: connections at a time, and bytes held for a slow receiver."""

from __future__ import annotations

import hashlib
import select
import socket

from ctwsgi.relay import (
    Bounds,
    Ctframe,
)
from ctwsgi.wire.ctframe import FrameDecoder
from tests.lab.streams import receive_all, receive_exactly, receive_header

from .rig import assert_dial_is_reset, fill


def test_connections_beyond_the_cap_wait_and_are_served_later(rig):
    b = rig(bounds=Bounds(max_connections=2))
    pairs = [b.pair() for _ in range(2)]
    waiting = b.dial()  # the kernel's queue takes it
    waiting.sendall(b"later")
    assert not select.select([b.upstream], [], [], 0.3)[0]
    assert b.counters["accepted"] == 2
    for sock in pairs[0]:
        sock.close()
    server = b.accept()
    assert receive_header(server).src == waiting.getsockname()
    assert receive_exactly(server, 5) == b"later"


def test_the_cap_holds_over_several_listeners(rig):
    b = rig(listens=("127.0.0.1:0", "127.0.0.1:0"), bounds=Bounds(max_connections=1))
    for address in (*b.addresses, *b.addresses):
        client = b.dial(address)
        server = b.accept()
        assert receive_header(server).src == client.getsockname()
        client.close()
        server.close()
    b.wait_count("accepted", 4)


def test_refused_connections_give_their_place_back(rig):
    b = rig(destination=lambda sock: None, bounds=Bounds(max_connections=2))
    for _ in range(10):
        assert_dial_is_reset(b)
    b.wait_count("refused:not-redirected", 10)


def test_a_stalled_receiver_holds_the_sender_back_and_loses_nothing(rig):
    b = rig()
    client, server = b.pair()
    receive_header(server)
    size = 64 << 20
    sent = fill(client, size)
    assert sent < size, "nothing held the sender back"
    digest = hashlib.sha256(bytes(sent)).digest()
    client.shutdown(socket.SHUT_WR)
    assert hashlib.sha256(receive_all(server)).digest() == digest


def test_a_stalled_connection_does_not_spoil_another(rig):
    """The two connections share one scratch buffer."""
    b = rig(Ctframe())
    stalled, slow = b.pair()
    pattern = bytes(range(256)) * 1024
    stalled.setblocking(False)
    sent = 0
    while select.select([], [stalled], [], 0.5)[1]:
        sent += stalled.send(pattern[sent % 256 :])
    for _ in range(20):
        client, server = b.pair()
        client.sendall(b"\xff" * 50_000)
        client.shutdown(socket.SHUT_WR)
        assert FrameDecoder().feed(receive_all(server)) == b"\xff" * 50_000
    stalled.shutdown(socket.SHUT_WR)
    payload = FrameDecoder().feed(receive_all(slow))
    assert payload == (bytes(range(256)) * (sent // 256 + 1))[:sent]

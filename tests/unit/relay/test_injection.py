# SPDX-License-Identifier: MIT
"""The relay writes the origin upstream, and loses no byte of either side."""

from __future__ import annotations

import hashlib
import os
import select
import socket
import threading

import pytest

from ctwsgi.relay import (
    Ctframe,
    Endpoint,
    Proxy,
    parse_upstream,
)
from ctwsgi.wire import proxy
from ctwsgi.wire.auth import KeyRing
from ctwsgi.wire.ctframe import FrameDecoder
from tests.lab.streams import receive_all, receive_exactly, receive_header

from .rig import DEADLINE, DIALLED, DIALLED_V6, assert_dial_is_reset


def test_proxy_header_says_both_ends_and_comes_before_any_client_byte(rig):
    b = rig()
    client, server = b.pair()
    header = receive_header(server)  # the client has not sent anything
    assert (header.version, header.command) == (2, proxy.Command.PROXY)
    assert header.src == client.getsockname()
    assert header.dst == DIALLED
    assert header.tlvs == ()
    server.sendall(b"220 ready\r\n")
    assert client.recv(100) == b"220 ready\r\n"


def test_proxy_header_is_whole_in_the_first_read(rig):
    b = rig(Proxy(crc32c=True, key=KeyRing.parse("7 " + "ab" * 32).signer()))
    client, server = b.pair()
    client.sendall(b"x")
    first = server.recv(4096)
    decoded = proxy.decode(first, keys=KeyRing.parse("7 " + "ab" * 32))
    assert decoded is not None
    assert decoded[0].auth == 7
    assert [kind for kind, _ in decoded[0].tlvs] == [0xE7, 0x03]


def test_ipv6_destination_in_a_proxy_header(rig):
    b = rig(listens=("[::1]:0",), destination=lambda sock: DIALLED_V6)
    client, server = b.pair()
    header = receive_header(server)
    assert header.dst == DIALLED_V6
    assert header.src == client.getsockname()[:2]


def test_one_header_per_connection_and_then_the_clients_bytes(rig):
    b = rig()
    for i in range(3):
        client, server = b.pair()
        assert receive_header(server).src == client.getsockname()
        client.sendall(b"request %d" % i)
        client.shutdown(socket.SHUT_WR)
        assert receive_all(server) == b"request %d" % i
    b.wait_count("relayed", 3)


def test_ctframe_frames_each_chunk(rig):
    b = rig(Ctframe())
    client, server = b.pair()
    decoder = FrameDecoder()
    for chunk in (b"a", b"bc" * 100):
        client.sendall(chunk)
        frame = receive_exactly(server, 8 + len(chunk))
        assert int.from_bytes(frame[6:8], "little") == len(chunk)
        assert decoder.feed(frame) == chunk
    assert decoder.destination == DIALLED
    client.shutdown(socket.SHUT_WR)
    assert receive_all(server) == b""
    decoder.eof()


def test_ctframe_writes_nothing_before_the_client_does(rig):
    b = rig(Ctframe())
    client, server = b.pair()
    server.sendall(b"220 ready\r\n")
    assert client.recv(100) == b"220 ready\r\n"
    assert not select.select([server], [], [], 0)[0]


def test_ctframe_refuses_an_ipv6_destination(rig):
    b = rig(Ctframe(), destination=lambda sock: DIALLED_V6)
    assert_dial_is_reset(b)
    b.wait_count("refused:not-ipv4")
    assert b.counters["relayed"] == 0


@pytest.mark.parametrize("injection", [Proxy(), Ctframe()], ids=["proxy", "ctframe"])
def test_ten_megabytes_both_ways_at_once(rig, injection):
    b = rig(injection)
    client, server = b.pair()
    up, down = os.urandom(10 << 20), os.urandom(10 << 20)
    received: dict[str, bytes] = {}

    def send(sock: socket.socket, data: bytes) -> None:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    threads = [
        threading.Thread(target=send, args=(client, up)),
        threading.Thread(target=send, args=(server, down)),
        threading.Thread(target=lambda: received.update(client=receive_all(client))),
    ]
    for thread in threads:
        thread.start()
    stream = receive_all(server)
    for thread in threads:
        thread.join(DEADLINE)
    if injection.framed:
        decoder = FrameDecoder()
        stream = decoder.feed(stream)
        decoder.eof()
    else:
        stream = stream[28:]
    assert hashlib.sha256(stream).digest() == hashlib.sha256(up).digest()
    assert hashlib.sha256(received["client"]).digest() == hashlib.sha256(down).digest()


def test_unix_upstream(rig, tmp_path):
    path = str(tmp_path / "app.sock")
    upstream = socket.socket(socket.AF_UNIX)
    upstream.bind(path)
    upstream.listen()
    upstream.settimeout(DEADLINE)
    assert parse_upstream(f"unix:{path}") == [Endpoint(socket.AF_UNIX, path)]
    with upstream:
        b = rig(upstream=upstream)
        client, server = b.pair()
        assert receive_header(server).dst == DIALLED
        client.sendall(b"hello")
        assert receive_exactly(server, 5) == b"hello"
        server.close()
        assert receive_all(client) == b""


def test_unix_upstream_with_a_full_queue_is_waited_for(rig, tmp_path):
    path = str(tmp_path / "app.sock")
    upstream = socket.socket(socket.AF_UNIX)
    upstream.bind(path)
    upstream.listen(0)
    upstream.settimeout(DEADLINE)
    with upstream, socket.socket(socket.AF_UNIX) as filler:
        filler.connect(path)
        b = rig(upstream=upstream)
        client = b.dial()
        b.wait_count("accepted")
        assert b.counters["relayed"] == 0
        b.accept()  # the filler: now there is room
        server = b.accept()
        assert receive_header(server).src == client.getsockname()

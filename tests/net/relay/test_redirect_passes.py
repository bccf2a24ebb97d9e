# SPDX-License-Identifier: MIT
"""`ctwsgi relay` passes on bytes, ends and resets, for many clients, within bounded memory."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable

import psutil
import pytest

from ctwsgi.wire.ctframe import FrameDecoder
from tests.lab.streams import hard_reset, receive_all, receive_exactly, receive_header
from tests.lab.wait import until

from .field import DEADLINE, serve_echo


@pytest.mark.parametrize("format_", ["proxy", "ctframe"])
def test_ten_megabytes_both_ways_and_half_close(field, format_):
    field.start("--format", format_)
    for client_ends_first in (True, False):
        client, server = field.pair()
        up, down = os.urandom(10 << 20), os.urandom(10 << 20)
        first, second = ((client, up), (server, down))[:: 1 if client_ends_first else -1]
        got: dict[socket.socket, bytes] = {}
        threads = [
            threading.Thread(target=receive_into, args=(got, sock)) for sock in (client, server)
        ]
        for thread in threads:
            thread.start()
        send_and_finish(*first)
        other = threads[1] if client_ends_first else threads[0]
        other.join(DEADLINE)  # one side has seen the end, and the other direction is still open
        send_and_finish(*second)
        for thread in threads:
            thread.join(DEADLINE)
        stream = got[server]
        payload = FrameDecoder().feed(stream) if format_ == "ctframe" else stream[28:]
        assert hashlib.sha256(payload).digest() == hashlib.sha256(up).digest()
        assert hashlib.sha256(got[client]).digest() == hashlib.sha256(down).digest()
    assert field.relay.stop() == {"active": 0, "accepted": 2, "relayed": 2}


def receive_into(got: dict[socket.socket, bytes], sock: socket.socket) -> None:
    got[sock] = receive_all(sock)


def send_and_finish(sock: socket.socket, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def test_resets_pass_through_both_ways(field):
    relay = field.start("--format", "proxy")
    client, server = field.pair()
    receive_header(server)
    hard_reset(client)
    with pytest.raises(ConnectionResetError):
        receive_all(server)
    client, server = field.pair()
    receive_header(server)
    hard_reset(server)
    with pytest.raises(ConnectionResetError):
        receive_all(client)
    relay.wait_count("reset:client")
    relay.wait_count("reset:upstream")


@pytest.mark.parametrize("format_", ["proxy", "ctframe"])
def test_memory_is_bounded_while_the_upstream_stalls(field, format_):
    relay = field.start("--format", format_)
    memory = psutil.Process(relay.process.pid).memory_info
    client, server = field.pair()
    client.sendall(b"x")
    server.recv(1, socket.MSG_PEEK)
    before = memory().rss
    block, blocks = os.urandom(1 << 20), 200
    sent = [0]

    def push() -> None:
        for _ in range(blocks):
            client.sendall(block)
            sent[0] += 1
        client.shutdown(socket.SHUT_WR)

    client.settimeout(None)
    pusher = threading.Thread(target=push, daemon=True)
    pusher.start()
    wait_until_still(lambda: sent[0])
    assert sent[0] < blocks, "nothing held the sender back"
    peak = memory().rss
    digest, decoder, received = hashlib.sha256(), FrameDecoder(), 0
    skip = 28 if format_ == "proxy" else 0
    receive_exactly(server, skip)
    while part := server.recv(1 << 20):
        payload = decoder.feed(part) if format_ == "ctframe" else part
        digest.update(payload)
        received += len(payload)
        peak = max(peak, memory().rss)
    pusher.join(DEADLINE)
    assert received == 1 + blocks * len(block)
    expected = hashlib.sha256(b"x")
    for _ in range(blocks):
        expected.update(block)
    assert digest.digest() == expected.digest()
    assert peak - before < 8 << 20, f"grew by {(peak - before) >> 10} KiB"


def wait_until_still(value: Callable[[], int], seconds: float = 1.0) -> None:
    """Waits until `value` is above 0 and has not changed for `seconds`."""
    deadline = time.monotonic() + DEADLINE
    last, since = value(), time.monotonic()
    while not last or time.monotonic() - since < seconds:
        assert time.monotonic() < deadline
        time.sleep(0.05)
        if (now := value()) != last:
            last, since = now, time.monotonic()


def test_two_hundred_connections_at_once(field):
    relay = field.start("--format", "proxy")
    serve_echo(field)
    clients = [field.dial() for _ in range(200)]
    for number, client in enumerate(clients):
        client.sendall(b"%d:" % number + bytes(1000))
    for number, client in enumerate(clients):
        expected = b"%d:" % number + bytes(1000)
        assert receive_exactly(client, len(expected)) == expected
    assert relay.counters()["active"] == 200
    for client in clients:
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b""
    until(lambda: relay.counters()["active"] == 0, "all to end")
    assert relay.stop() == {"active": 0, "accepted": 200, "relayed": 200}


def test_running_out_of_descriptors_does_not_spin(field):
    relay = field.start("--format", "proxy")
    serve_echo(field)
    process = psutil.Process(relay.process.pid)
    process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + 20, 4096))
    started = time.monotonic()
    clients = [field.dial() for _ in range(40)]

    def starved() -> int:
        counters = relay.counters()
        return counters.get("accept:EMFILE", 0) + counters.get("upstream:EMFILE", 0)

    until(lambda: starved() > 2, "EMFILE")
    failures = relay.counters().get("accept:EMFILE", 0)
    assert failures <= 1 + (time.monotonic() - started) / 0.2
    process.rlimit(psutil.RLIMIT_NOFILE, (4096, 4096))
    served = 0
    for client in clients:
        try:
            client.sendall(b"x")
            served += client.recv(1) == b"x"
        except (ConnectionResetError, BrokenPipeError):
            pass  # accepted, and then there was no descriptor for the upstream
    counters = relay.counters()
    assert served == counters["relayed"]
    assert served + counters.get("upstream:EMFILE", 0) == counters["accepted"] == 40
    assert served >= 20

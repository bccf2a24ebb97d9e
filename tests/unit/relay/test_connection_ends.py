# SPDX-License-Identifier: MIT
"""How a relayed connection ends: half-closed, reset, refused, idle."""

from __future__ import annotations

import socket
import threading

from ctwsgi.relay import (
    Bounds,
    Endpoint,
)
from tests.lab.streams import hard_reset, receive_all, receive_exactly, receive_header
from tests.lab.wait import until

from .rig import DEADLINE, DIALLED, assert_dial_is_reset, assert_reset, fill, taken_port


def test_half_close_by_the_client(rig):
    client, server = rig().pair()
    receive_header(server)
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    assert receive_all(server) == b"question"
    server.sendall(b"answer")
    assert receive_exactly(client, 6) == b"answer"
    server.close()
    assert receive_all(client) == b""


def test_half_close_by_the_upstream(rig):
    client, server = rig().pair()
    receive_header(server)
    server.sendall(b"greeting")
    server.shutdown(socket.SHUT_WR)
    assert receive_all(client) == b"greeting"
    client.sendall(b"thanks")
    assert receive_exactly(server, 6) == b"thanks"
    client.close()
    assert receive_all(server) == b""


def test_an_orderly_end_leaves_nothing_behind(rig):
    b = rig()
    client, server = b.pair()
    receive_header(server)
    client.close()
    assert receive_all(server) == b""
    server.close()
    until(lambda: b.relay.summary().startswith("active=0"), "the end of the connection")
    assert dict(b.counters) == {"accepted": 1, "relayed": 1}


def test_reset_by_the_client_reaches_the_upstream(rig):
    b = rig()
    client, server = b.pair()
    receive_header(server)
    hard_reset(client)
    assert_reset(server)
    assert b.counters["reset:client"] == 1


def test_reset_by_the_upstream_reaches_the_client(rig):
    b = rig()
    client, server = b.pair()
    receive_header(server)
    hard_reset(server)
    assert_reset(client)
    assert b.counters["reset:upstream"] == 1


def test_reset_by_a_client_whose_upstream_is_stalled_is_noticed(rig):
    b = rig()
    client, server = b.pair()
    assert fill(client) > 1 << 16
    hard_reset(client)
    b.wait_count("reset:client")
    assert_reset(server)


def test_reset_by_a_client_while_the_upstream_is_dialled(rig, tmp_path):
    path = str(tmp_path / "app.sock")
    upstream = socket.socket(socket.AF_UNIX)
    upstream.bind(path)
    upstream.listen(0)
    with upstream, socket.socket(socket.AF_UNIX) as filler:
        filler.connect(path)
        b = rig(upstream=upstream)
        client = b.dial()
        b.wait_count("accepted")
        hard_reset(client)
        b.wait_count("reset:client")
        assert b.counters["relayed"] == 0


def test_an_early_answer_survives_the_reset_that_follows_it(rig):
    """A server that answers 413 and closes without reading resets the upload behind its answer."""
    answer = b"HTTP/1.1 413 Content Too Large\r\n\r\n"
    b = rig()
    for _ in range(20):
        client, server = b.pair()
        receive_header(server)
        upload = threading.Thread(target=send_until_it_fails, args=(client,))
        upload.start()
        receive_exactly(server, 1 << 20)
        server.sendall(answer)
        server.close()  # with unread bytes: RST
        upload.join(DEADLINE)
        assert receive_exactly(client, len(answer)) == answer
    b.wait_count("reset:upstream", 20)


def send_until_it_fails(sock: socket.socket) -> None:
    try:
        while True:
            sock.sendall(bytes(1 << 16))
    except (BrokenPipeError, ConnectionResetError):
        pass


def test_upstream_refuses(rig):
    with taken_port() as closed:
        b = rig(upstream=Endpoint(socket.AF_INET, closed))
        assert_dial_is_reset(b)
        b.wait_count("upstream:ECONNREFUSED")
    assert b.counters["relayed"] == 0


def test_upstream_does_not_answer_in_time(rig):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        with socket.create_connection(deaf.getsockname()):  # its queue is full: SYNs are dropped
            b = rig(
                upstream=Endpoint(socket.AF_INET, deaf.getsockname()),
                bounds=Bounds(connect_timeout=0.2),
            )
            assert_dial_is_reset(b)
            b.wait_count("upstream:ETIMEDOUT")


def test_the_next_upstream_address_is_tried(rig):
    with taken_port() as closed:
        b = rig(first=(Endpoint(socket.AF_INET, closed),))
        _, server = b.pair()
    assert receive_header(server).dst == DIALLED
    assert b.counters["upstream:ECONNREFUSED"] == 0


def test_idle_connections_are_reset(rig):
    b = rig(bounds=Bounds(idle_timeout=0.4))
    client, server = b.pair()
    receive_header(server)
    assert_reset(client)
    assert_reset(server)
    b.wait_count("idle")


def test_either_direction_alone_counts_as_movement(rig):
    b = rig()
    client, server = b.pair()
    receive_header(server)
    (connection,) = b.relay._connections
    for sender, receiver in ((client, server), (server, client)):
        before = connection.moved
        sender.sendall(b".")
        assert receiver.recv(1) == b"."
        assert connection.moved > before

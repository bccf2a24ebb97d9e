# SPDX-License-Identifier: MIT
"""How the server stops: it lets connections end, resets them after a time, or at once."""

from __future__ import annotations

import pytest

from tests.lab.streams import receive_all, receive_exactly, receive_header

from .rig import DEADLINE, assert_reset


def test_stop_lets_running_connections_end(rig):
    b = rig()
    client, server = b.pair()
    receive_header(server)
    b.stop(DEADLINE, wait=False)
    assert b.closed.wait(DEADLINE)
    with pytest.raises(ConnectionRefusedError):
        b.dial()
    client.sendall(b"still here")
    assert receive_exactly(server, 10) == b"still here"
    server.close()
    assert receive_all(client) == b""
    client.close()
    b.stop()
    assert b.counters["stopped"] == 0


def test_stop_resets_what_does_not_end_in_time(rig):
    b = rig()
    client, server = b.pair()
    receive_header(server)
    b.stop(0.2)
    assert_reset(client)
    assert_reset(server)
    assert b.counters["stopped"] == 1


def test_a_graceful_stop_can_be_cut_short(rig):
    b = rig()
    client, server = b.pair()
    receive_header(server)
    b.stop(3600, wait=False)
    assert b.closed.wait(DEADLINE)
    b.abort_all()
    assert_reset(client)
    b.stop()

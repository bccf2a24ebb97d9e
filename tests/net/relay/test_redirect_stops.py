# SPDX-License-Identifier: MIT
"""How `ctwsgi relay` stops under load."""

from __future__ import annotations

import signal
import socket
import threading

import pytest

from tests.lab.streams import receive_all, receive_exactly, receive_header
from tests.lab.wait import until

from .field import DEADLINE, serve_echo


def test_sigterm_under_load_ends_what_runs(field):
    relay = field.start("--format", "proxy")
    serve_echo(field)
    stop, failures, done = threading.Event(), [], []
    clients = [field.dial() for _ in range(20)]

    def load(client: socket.socket) -> None:
        try:
            for _ in range(1 << 20):
                client.sendall(bytes(10_000))
                receive_exactly(client, 10_000)
                if stop.is_set():
                    break
            client.shutdown(socket.SHUT_WR)
            assert receive_all(client) == b""
            done.append(client)
        except (OSError, AssertionError) as e:
            failures.append(e)

    threads = [threading.Thread(target=load, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    relay.wait_count("relayed", 20)
    relay.process.send_signal(signal.SIGTERM)
    until(lambda: "stopping" in relay.log(), "the answer to SIGTERM")
    with pytest.raises(ConnectionRefusedError):
        field.dial()
    stop.set()
    for thread in threads:
        thread.join(DEADLINE)
    assert failures == []
    assert len(done) == 20
    assert relay.process.wait(DEADLINE) == 0
    assert relay.last_counters() == {"active": 0, "accepted": 20, "relayed": 20}
    assert "Traceback" not in relay.log()


@pytest.mark.parametrize("end", [("--graceful-timeout", "0.2"), ("second signal",)])
def test_sigterm_does_not_wait_for_ever(field, end):
    options = end if end[0].startswith("--") else ("--graceful-timeout", "3600")
    relay = field.start("--format", "proxy", *options)
    client, server = field.pair()
    receive_header(server)
    relay.process.send_signal(signal.SIGTERM)
    until(lambda: "stopping" in relay.log(), "the answer to SIGTERM")
    if end == ("second signal",):
        relay.process.send_signal(signal.SIGTERM)
    with pytest.raises(ConnectionResetError):
        receive_all(client)
    assert relay.process.wait(DEADLINE) == 0
    assert relay.last_counters() == {"active": 0, "accepted": 1, "relayed": 1, "stopped": 1}

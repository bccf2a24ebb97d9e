# SPDX-License-Identifier: MIT
"""What one client can take from the others: memory, processor time, a place at the cap."""

from __future__ import annotations

import gc
import hashlib
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import gevent
import gevent.event

from ctwsgi.http import environ as http_environ
from ctwsgi.http.request import Request
from tests.running import running

from .cases import get, post
from .hostile import NEVER, hello, settled
from .wire import DEADLINE, Client, until


def test_a_descriptor_that_the_application_closed_frees_its_place() -> None:
    def close(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        (connection,) = runner.server._connections
        socket.close(connection.transport.sock.fileno())
        return hello(environ, start_response)

    with running(close, timeouts=NEVER, max_connections=1) as runner:
        for _ in range(3):
            with Client(runner.server.address) as client:
                client.send(get())
                client._rest()
            settled(runner)


def test_pipelined_1_0_requests_cost_no_more_than_others() -> None:
    """In processor time: no request may scan the whole buffer."""
    cost: dict[bytes, float] = {}
    with running(hello, timeouts=NEVER) as runner:
        # The least of three rounds, because the process has other threads.
        for version, head in ((b"1.0", b""), (b"1.1", b"\r\nHost: x")) * 3:
            many = b"GET / HTTP/" + version + head + b"\r\n\r\n"
            with Client(runner.server.address) as client:
                began = time.process_time()
                client.send(many * (60_000 // len(many)))
                client.finish()
                client._rest()
            settled(runner)
            cost[version] = min(cost.get(version, 100), time.process_time() - began)
    assert cost[b"1.0"] < 4 * cost[b"1.1"]


def test_long_header_names_are_not_remembered() -> None:
    with running(hello, timeouts=NEVER) as runner, Client(runner.server.address) as client:
        for i in range(20):
            assert client.ask(get(b"X%d-%b: y" % (i, b"a" * 60_000))).status == 200
    assert sum(map(len, http_environ._keys)) < 1 << 20
    assert max(map(len, http_environ._keys)) < 1000


def test_pipelined_requests_wait_as_bytes() -> None:
    """A parsed request takes fifty bytes of memory for each byte of a small request."""
    gates: list[Any] = []

    def wait(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if not gates:
            gates.append(gevent.event.Event())
            gates[0].wait()
        return hello(environ, start_response)

    def requests() -> int:
        return sum(type(o) is Request for o in gc.get_objects())

    gc.collect()
    before = requests()
    with running(wait, timeouts=NEVER) as runner, Client(runner.server.address) as client:
        client.send(get() * 2000)
        until(lambda: gates, "the application to be called")
        assert requests() - before < 500
        runner.call(gates[0].set)
        for _ in range(2000):
            assert client.response().body == b"hello"


def test_signed_chunks_of_any_number_are_no_overhead() -> None:
    """85 bytes of signature for each chunk of 64 KB, as in AWS's uploads; 30 MB in all."""

    def digest(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        total = hashlib.sha256()
        while piece := environ["wsgi.input"].read(1 << 16):
            total.update(piece)
        start_response("200 OK", [])
        return [total.digest()]

    data = bytes(range(256)) * 256
    chunk = b"10000;chunk-signature=" + b"a" * 64 + b"\r\n" + data + b"\r\n"
    with running(digest, timeouts=NEVER) as runner, Client(runner.server.address) as client:
        client.send(post(b"Transfer-Encoding: chunked"))
        for _ in range(480):
            assert client.send(chunk), "refused"
        client.send(b"0\r\n\r\n")
        assert client.response().body == hashlib.sha256(data * 480).digest()


UPLOAD = """
import socket, sys
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
sock.sendall(b"POST /upload HTTP/1.1\\r\\nHost: x\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
while True:
    sock.sendall(b"2\\r\\nxx\\r\\n" * 10000)
"""


def test_a_fast_uploader_does_not_hold_the_hub() -> None:
    """Another client is answered while the uploader sends faster than the server parses."""

    def sink(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        while environ["wsgi.input"].read(1 << 16):
            begun.set()
        return hello(environ, start_response)

    begun = threading.Event()
    with running(sink, timeouts=NEVER) as runner:
        port = str(runner.server.address[1])
        uploader = subprocess.Popen([sys.executable, "-c", UPLOAD, port], stderr=subprocess.DEVNULL)
        try:
            assert begun.wait(DEADLINE)
            for _ in range(2):
                with Client(runner.server.address) as client:
                    assert client.ask(get()).body == b"hello"
            assert uploader.poll() is None
        finally:
            uploader.kill()
            uploader.wait()

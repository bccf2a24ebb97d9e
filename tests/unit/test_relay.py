"""The relay over loopback, with real sockets; only the original destination is given, not asked.

The relay runs in a thread with a gevent hub of its own, the test plays client and upstream with
blocking sockets. What needs a real redirect is in tests/net/test_relay_redirect.py.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gevent
import pytest
from click.testing import CliRunner
from gevent.event import Event

from ctwsgi.errors import OriginError, Reason
from ctwsgi.linux import original_destination
from ctwsgi.relay import (
    Bounds,
    Ctframe,
    Endpoint,
    Injection,
    Proxy,
    Relay,
    listen,
    parse_listen,
    parse_upstream,
)
from ctwsgi.relay.command import relay as command
from ctwsgi.wire import proxy
from ctwsgi.wire.auth import KeyRing
from ctwsgi.wire.ctframe import FrameDecoder

ROOT = Path(__file__).resolve().parents[2]
DIALLED = ("198.18.7.9", 8080)
DIALLED_V6 = ("2001:db8::7:9", 8443)
DEADLINE = 20.0
RST = struct.pack("ii", 1, 0)


def wait_for(true: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.005)


def receive_all(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def receive_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        assert part, f"ended after {len(data)} of {size} bytes"
        data += part
    return data


def receive_header(sock: socket.socket, keys: KeyRing | None = None) -> proxy.Header:
    """Reads the PROXY header and not a byte more."""
    fixed = receive_exactly(sock, 16)
    raw = fixed + receive_exactly(sock, int.from_bytes(fixed[14:], "big"))
    decoded = proxy.decode(raw, keys=keys)
    assert decoded is not None
    assert decoded[1] == len(raw)
    return decoded[0]


def hard_reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
    sock.close()


class Bench:
    """A relay in a thread, and the upstream that it dials."""

    def __init__(
        self,
        injection: Injection,
        upstream: socket.socket | Endpoint,
        stack: ExitStack,
        *,
        listens: tuple[str, ...] = ("127.0.0.1:0",),
        first: tuple[Endpoint, ...] = (),
        destination: Callable[[socket.socket], Any] = lambda sock: DIALLED,
        **options: Any,
    ) -> None:
        self.injection = injection
        self.upstream = upstream
        self._stack = stack
        self._listeners = [listen(parse_listen(text)) for text in listens]
        self.addresses = [listener.getsockname() for listener in self._listeners]
        self._first = first
        self._destination = destination
        self._options = options
        self._started = threading.Event()
        self.closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._started.wait(DEADLINE)

    def _run(self) -> None:
        if isinstance(self.upstream, Endpoint):
            endpoint = self.upstream
        else:
            endpoint = Endpoint(self.upstream.family, self.upstream.getsockname())
        self.relay = Relay(
            self._listeners,
            [*self._first, endpoint],
            self.injection,
            destination=self._destination,
            **self._options,
        )
        hub = gevent.get_hub()
        self._stopping = Event()
        self._in_hub = hub.loop.run_callback_threadsafe
        self._timeout = 0.0
        self.relay.start()
        self._started.set()
        self._stopping.wait()
        self.relay.close()
        self.closed.set()
        self.relay.drain(self._timeout)
        hub.destroy(destroy_loop=True)

    def stop(self, timeout: float = 0.0, *, wait: bool = True) -> None:
        if self._thread.is_alive() and not self._stopping.is_set():
            self._timeout = timeout
            self._in_hub(self._stopping.set)
        if wait:
            self._thread.join(DEADLINE)
            assert not self._thread.is_alive()

    def abort_all(self) -> None:
        self._in_hub(self.relay.abort_all)

    @property
    def counters(self) -> Any:
        return self.relay.counters

    def dial(self, address: Any = None) -> socket.socket:
        sock = socket.create_connection((address or self.addresses[0])[:2], DEADLINE)
        return self._stack.enter_context(sock)

    def accept(self) -> socket.socket:
        assert isinstance(self.upstream, socket.socket)
        sock, _ = self.upstream.accept()
        sock.settimeout(DEADLINE)
        return self._stack.enter_context(sock)

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """A client and the upstream's end of it."""
        client = self.dial()
        return client, self.accept()

    def wait_count(self, name: str, number: int = 1) -> None:
        wait_for(lambda: self.counters[name] == number, f"{name}={number}, have {self.counters}")


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    with ExitStack() as stack:

        def make(injection: Injection | None = None, upstream: Any = None, **options: Any) -> Bench:
            if upstream is None:
                upstream = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
                upstream.settimeout(DEADLINE)
            made = Bench(injection or Proxy(), upstream, stack, **options)
            stack.callback(made.stop)
            return made

        yield make


# What is written


def test_proxy_header_says_both_ends_and_comes_before_any_client_byte(bench):
    b = bench()
    client, server = b.pair()
    header = receive_header(server)  # the client has not sent anything
    assert (header.version, header.command) == (2, proxy.Command.PROXY)
    assert header.src == client.getsockname()
    assert header.dst == DIALLED
    assert header.tlvs == ()
    server.sendall(b"220 ready\r\n")
    assert client.recv(100) == b"220 ready\r\n"


def test_proxy_header_is_whole_in_the_first_read(bench):
    b = bench(Proxy(crc32c=True, key=KeyRing.parse("7 " + "ab" * 32).signer()))
    client, server = b.pair()
    client.sendall(b"x")
    first = server.recv(4096)
    decoded = proxy.decode(first, keys=KeyRing.parse("7 " + "ab" * 32))
    assert decoded is not None
    assert decoded[0].auth == 7
    assert [kind for kind, _ in decoded[0].tlvs] == [0xE7, 0x03]


def test_ipv6_destination_in_a_proxy_header(bench):
    b = bench(listens=("[::1]:0",), destination=lambda sock: DIALLED_V6)
    client, server = b.pair()
    header = receive_header(server)
    assert header.dst == DIALLED_V6
    assert header.src == client.getsockname()[:2]


def test_one_header_per_connection_and_then_the_clients_bytes(bench):
    b = bench()
    for i in range(3):
        client, server = b.pair()
        assert receive_header(server).src == client.getsockname()
        client.sendall(b"request %d" % i)
        client.shutdown(socket.SHUT_WR)
        assert receive_all(server) == b"request %d" % i
    b.wait_count("relayed", 3)


def test_ctframe_frames_each_chunk(bench):
    b = bench(Ctframe())
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


def test_ctframe_writes_nothing_before_the_client_does(bench):
    b = bench(Ctframe())
    client, server = b.pair()
    server.sendall(b"220 ready\r\n")
    assert client.recv(100) == b"220 ready\r\n"
    assert not select.select([server], [], [], 0)[0]


def test_ctframe_refuses_an_ipv6_destination(bench):
    b = bench(Ctframe(), destination=lambda sock: DIALLED_V6)
    assert_dial_is_reset(b)
    b.wait_count("refused:not-ipv4")
    assert b.counters["relayed"] == 0


@pytest.mark.parametrize("injection", [Proxy(), Ctframe()], ids=["proxy", "ctframe"])
def test_ten_megabytes_both_ways_at_once(bench, injection):
    b = bench(injection)
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


def test_unix_upstream(bench, tmp_path):
    path = str(tmp_path / "app.sock")
    upstream = socket.socket(socket.AF_UNIX)
    upstream.bind(path)
    upstream.listen()
    upstream.settimeout(DEADLINE)
    assert parse_upstream(f"unix:{path}") == [Endpoint(socket.AF_UNIX, path)]
    with upstream:
        b = bench(upstream=upstream)
        client, server = b.pair()
        assert receive_header(server).dst == DIALLED
        client.sendall(b"hello")
        assert receive_exactly(server, 5) == b"hello"
        server.close()
        assert receive_all(client) == b""


def test_unix_upstream_with_a_full_queue_is_waited_for(bench, tmp_path):
    path = str(tmp_path / "app.sock")
    upstream = socket.socket(socket.AF_UNIX)
    upstream.bind(path)
    upstream.listen(0)
    upstream.settimeout(DEADLINE)
    with upstream, socket.socket(socket.AF_UNIX) as filler:
        filler.connect(path)
        b = bench(upstream=upstream)
        client = b.dial()
        b.wait_count("accepted")
        assert b.counters["relayed"] == 0
        b.accept()  # the filler: now there is room
        server = b.accept()
        assert receive_header(server).src == client.getsockname()


# How it ends


def test_half_close_by_the_client(bench):
    client, server = bench().pair()
    receive_header(server)
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    assert receive_all(server) == b"question"
    server.sendall(b"answer")
    assert receive_exactly(client, 6) == b"answer"
    server.close()
    assert receive_all(client) == b""


def test_half_close_by_the_upstream(bench):
    client, server = bench().pair()
    receive_header(server)
    server.sendall(b"greeting")
    server.shutdown(socket.SHUT_WR)
    assert receive_all(client) == b"greeting"
    client.sendall(b"thanks")
    assert receive_exactly(server, 6) == b"thanks"
    client.close()
    assert receive_all(server) == b""


def test_an_orderly_end_leaves_nothing_behind(bench):
    b = bench()
    client, server = b.pair()
    receive_header(server)
    client.close()
    assert receive_all(server) == b""
    server.close()
    wait_for(lambda: b.relay.summary().startswith("active=0"), "the end of the connection")
    assert dict(b.counters) == {"accepted": 1, "relayed": 1}


def assert_reset(sock: socket.socket) -> None:
    with pytest.raises(ConnectionResetError):
        receive_all(sock)


def assert_dial_is_reset(b: Bench) -> None:
    """The RST may be there before connect() has returned."""
    with pytest.raises(ConnectionResetError):
        receive_all(b.dial())


def test_reset_by_the_client_reaches_the_upstream(bench):
    b = bench()
    client, server = b.pair()
    receive_header(server)
    hard_reset(client)
    assert_reset(server)
    assert b.counters["reset:client"] == 1


def test_reset_by_the_upstream_reaches_the_client(bench):
    b = bench()
    client, server = b.pair()
    receive_header(server)
    hard_reset(server)
    assert_reset(client)
    assert b.counters["reset:upstream"] == 1


def fill(sock: socket.socket, limit: int = 1 << 30) -> int:
    """Send until the other side has not taken a byte for a while; returns how many went."""
    sock.setblocking(False)
    chunk, sent = bytes(1 << 18), 0
    while sent < limit and select.select([], [sock], [], 0.5)[1]:
        sent += sock.send(chunk)
    sock.settimeout(DEADLINE)
    return sent


def test_reset_by_a_client_whose_upstream_is_stalled_is_noticed(bench):
    b = bench()
    client, server = b.pair()
    assert fill(client) > 1 << 16
    hard_reset(client)
    b.wait_count("reset:client")
    assert_reset(server)


def test_reset_by_a_client_while_the_upstream_is_dialled(bench, tmp_path):
    path = str(tmp_path / "app.sock")
    upstream = socket.socket(socket.AF_UNIX)
    upstream.bind(path)
    upstream.listen(0)
    with upstream, socket.socket(socket.AF_UNIX) as filler:
        filler.connect(path)
        b = bench(upstream=upstream)
        client = b.dial()
        b.wait_count("accepted")
        hard_reset(client)
        b.wait_count("reset:client")
        assert b.counters["relayed"] == 0


def test_an_early_answer_survives_the_reset_that_follows_it(bench):
    """A server that answers 413 and closes without reading resets the upload behind its answer."""
    answer = b"HTTP/1.1 413 Content Too Large\r\n\r\n"
    b = bench()
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


def test_upstream_refuses(bench):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()
    b = bench(upstream=Endpoint(socket.AF_INET, free))
    assert_dial_is_reset(b)
    b.wait_count("upstream:ECONNREFUSED")
    assert b.counters["relayed"] == 0


def test_upstream_does_not_answer_in_time(bench):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        with socket.create_connection(deaf.getsockname()):  # its queue is full: SYNs are dropped
            b = bench(
                upstream=Endpoint(socket.AF_INET, deaf.getsockname()),
                bounds=Bounds(connect_timeout=0.2),
            )
            assert_dial_is_reset(b)
            b.wait_count("upstream:ETIMEDOUT")


def test_the_next_upstream_address_is_tried(bench):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()
    b = bench(first=(Endpoint(socket.AF_INET, free),))
    _, server = b.pair()
    assert receive_header(server).dst == DIALLED
    assert b.counters["upstream:ECONNREFUSED"] == 0


def test_idle_connections_are_reset(bench):
    b = bench(bounds=Bounds(idle_timeout=0.4))
    client, server = b.pair()
    receive_header(server)
    assert_reset(client)
    assert_reset(server)
    b.wait_count("idle")


def test_either_direction_alone_counts_as_movement(bench):
    b = bench()
    client, server = b.pair()
    receive_header(server)
    (connection,) = b.relay._connections
    for sender, receiver in ((client, server), (server, client)):
        before = connection.moved
        sender.sendall(b".")
        assert receiver.recv(1) == b"."
        assert connection.moved > before


# What is refused


def refuse_with(reason: Reason) -> Callable[[socket.socket], Any]:
    def destination(sock: socket.socket) -> Any:
        raise OriginError(reason, "a test")

    return destination


@pytest.mark.parametrize(
    ("destination", "reason"),
    [
        (lambda sock: None, "not-redirected"),
        (lambda sock: ("127.0.0.1", 80), "loop"),
        (lambda sock: ("::1", 80), "loop"),
        (lambda sock: ("0.0.0.0", 80), "loop"),
        (lambda sock: ("203.0.113.5", 80), "loop"),
        (lambda sock: ("203.0.113.6", 443), "loop"),
        (refuse_with(Reason.CONNTRACK_UNAVAILABLE), "conntrack-unavailable"),
        (refuse_with(Reason.CONNTRACK_ERROR), "conntrack-error"),
    ],
)
def test_refusals_are_closed_and_counted(bench, destination, reason, caplog):
    own = [("203.0.113.5", None), ("203.0.113.6", 443)]
    with caplog.at_level(logging.WARNING, "ctwsgi.relay"):
        b = bench(destination=destination, own=own)
        assert_dial_is_reset(b)
        b.wait_count(f"refused:{reason}")
    assert b.counters["relayed"] == 0
    assert f"refused:{reason}" in caplog.text


def test_the_kernel_says_that_a_direct_connection_was_not_redirected(bench):
    b = bench(destination=original_destination)
    assert_dial_is_reset(b)
    wait_for(lambda: any(name.startswith("refused:") for name in b.counters), "a refusal")
    # Which of the two depends on whether this namespace has a rule that needs conntrack.
    assert {name for name in b.counters if name.startswith("refused:")} <= {
        "refused:not-redirected",
        "refused:conntrack-unavailable",
    }


def test_a_listener_on_an_address_of_no_interface_is_a_loop(bench):
    """127.0.0.0/8 is local anyway, so the guard itself is asked."""
    b = bench(listens=("127.0.0.1:0", "127.0.0.2:0"), own=[("198.18.0.1", 8000)])
    guard = b.relay._guard
    assert all(guard.refuses(address) for address in b.addresses)
    assert guard.refuses(("198.18.0.1", 8000))
    assert not guard.refuses(("198.18.0.1", 8001))


def test_our_own_call_that_comes_back_is_a_loop(bench):
    """As when the redirect rule catches the relay's own connections: its upstream is itself."""
    arrived: list[Any] = []

    def destination(sock: socket.socket) -> Any:
        arrived.append(sock.getpeername())
        # The first connection is a client's; the second was dialled to the upstream by us.
        return DIALLED if len(arrived) == 1 else upstream

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    upstream = ("127.0.0.1", port)
    b = bench(
        upstream=Endpoint(socket.AF_INET, upstream),
        listens=(f"127.0.0.1:{port}",),
        destination=destination,
    )
    # 127.0.0.1 is local and would be refused for that already: let only the calls decide.
    b.relay._guard = NoGuard()
    assert_dial_is_reset(b)
    b.wait_count("refused:loop")
    assert len(arrived) == 2


class NoGuard:
    def refuses(self, destination: Any) -> bool:
        return False


def test_refusals_are_logged_once_a_second_at_most(bench, caplog):
    with caplog.at_level(logging.WARNING, "ctwsgi.relay"):
        b = bench(destination=lambda sock: None)
        for _ in range(50):
            assert_dial_is_reset(b)
        b.wait_count("refused:not-redirected", 50)
    started, ended = caplog.records[0].created, caplog.records[-1].created
    assert len(caplog.records) <= 1 + (ended - started)


# How much at once


def test_connections_beyond_the_cap_wait_and_are_served_later(bench):
    b = bench(bounds=Bounds(max_connections=2))
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


def test_the_cap_holds_over_several_listeners(bench):
    b = bench(listens=("127.0.0.1:0", "127.0.0.1:0"), bounds=Bounds(max_connections=1))
    for address in (*b.addresses, *b.addresses):
        client = b.dial(address)
        server = b.accept()
        assert receive_header(server).src == client.getsockname()
        client.close()
        server.close()
    b.wait_count("accepted", 4)


def test_refused_connections_give_their_place_back(bench):
    b = bench(destination=lambda sock: None, bounds=Bounds(max_connections=2))
    for _ in range(10):
        assert_dial_is_reset(b)
    b.wait_count("refused:not-redirected", 10)


def test_a_stalled_receiver_holds_the_sender_back_and_loses_nothing(bench):
    b = bench()
    client, server = b.pair()
    receive_header(server)
    size = 64 << 20
    sent = fill(client, size)
    assert sent < size, "nothing held the sender back"
    digest = hashlib.sha256(bytes(sent)).digest()
    client.shutdown(socket.SHUT_WR)
    assert hashlib.sha256(receive_all(server)).digest() == digest


def test_a_stalled_connection_does_not_spoil_another(bench):
    """Both use one scratch buffer."""
    b = bench(Ctframe())
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


# How it stops


def test_stop_lets_running_connections_end(bench):
    b = bench()
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


def test_stop_resets_what_does_not_end_in_time(bench):
    b = bench()
    client, server = b.pair()
    receive_header(server)
    b.stop(0.2)
    assert_reset(client)
    assert_reset(server)
    assert b.counters["stopped"] == 1


def test_a_graceful_stop_can_be_cut_short(bench):
    b = bench()
    client, server = b.pair()
    receive_header(server)
    b.stop(3600, wait=False)
    assert b.closed.wait(DEADLINE)
    b.abort_all()
    assert_reset(client)
    b.stop()


# What the command line says


@pytest.mark.parametrize(
    ("text", "family", "shown"),
    [
        ("127.0.0.1:80", socket.AF_INET, "127.0.0.1:80"),
        ("[::1]:80", socket.AF_INET6, "[::1]:80"),
        ("0.0.0.0:0", socket.AF_INET, "0.0.0.0:0"),
    ],
)
def test_parse_listen(text, family, shown):
    endpoint = parse_listen(text)
    assert endpoint.family == family
    assert str(endpoint) == shown


@pytest.mark.parametrize(
    "text",
    ["", "80", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1",
     "::1:80", "[::1]", "[::1]80", "[127.0.0.1:80", "localhost:80", "127.0.0.1:\u0661", "[]:80",
     "256.0.0.1:80"],
)  # fmt: skip
def test_parse_listen_refuses(text):
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        parse_listen(text)


@pytest.mark.parametrize("text", ["127.0.0.1:0", "unix:", "nowhere.invalid:80", "a..b:80", "x"])
def test_parse_upstream_refuses(text):
    with pytest.raises(ValueError, match=repr(text)):
        parse_upstream(text)


def test_parse_upstream_resolves_names():
    found = parse_upstream("localhost:80")
    assert {endpoint.sockaddr[0] for endpoint in found} <= {"127.0.0.1", "::1"}
    assert {endpoint.sockaddr[1] for endpoint in found} == {80}
    assert str(Endpoint(socket.AF_UNIX, "/run/x")) == "unix:/run/x"


USUAL = ("--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:9")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--listen", "127.0.0.1", *USUAL[2:], "--format", "proxy"), "not ADDR:PORT"),
        (("--listen", "192.0.2.1:80", *USUAL[2:], "--format", "proxy"), "choose a free address"),
        ((*USUAL[:2], "--upstream", "unix:", "--format", "proxy"), "names no path"),
        ((*USUAL, "--format", "proxy", "--self", "here"), "neither ADDR nor ADDR:PORT"),
        ((*USUAL, "--format", "proxy", "--auth-key-file", "/nonexistent"), "/nonexistent"),
        ((*USUAL, "--format", "ctframe", "--auth-key-file", "/x"), "use --format proxy"),
        ((*USUAL, "--format", "ctframe", "--crc32c"), "use --format proxy"),
    ],
)
def test_what_keeps_it_from_starting_is_one_line(arguments, says):
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert says in result.output
    assert result.output.count("\n") == 1
    assert "Traceback" not in result.output


def test_a_taken_port_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        arguments = ("--listen", address, *USUAL[2:], "--format", "proxy")
        result = CliRunner().invoke(command, arguments)
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert address in result.output


def test_a_bad_key_is_not_shown(tmp_path):
    path = tmp_path / "keys"
    path.write_text("1 c0ffee\n")
    path.chmod(0o600)
    arguments = (*USUAL, "--format", "proxy", "--auth-key-file", str(path))
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert f"{path}:1" in result.output
    assert "c0ffee" not in result.output


def test_a_life_by_signals(tmp_path):
    """The process itself: starts on a free port, survives SIGHUP, counts, ends with 0."""
    keys, path = tmp_path / "keys", tmp_path / "log"
    keys.write_text("1 " + "ab" * 16)
    keys.chmod(0o600)
    arguments = (*USUAL, "--format", "proxy", "--auth-key-file", str(keys), "--verbose")
    with path.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ctwsgi", "relay", *arguments], stdout=log, stderr=log, cwd=ROOT
        )
    try:
        for number, says in (
            (None, "writing proxy to 127.0.0.1:9"),
            (signal.SIGHUP, "signing with key 1"),
            (signal.SIGUSR1, "counters: active=0"),
            (signal.SIGTERM, "stopping"),
        ):
            if number:
                process.send_signal(number)
            wait_for(lambda: says in path.read_text(), says)  # noqa: B023 - called at once
        assert process.wait(DEADLINE) == 0
    finally:
        process.kill()
        process.wait()
    assert path.read_text().count("counters: active=0") == 2

# SPDX-License-Identifier: MIT
"""The server as a whole: sources over loopback, the environ contract, stopping, TLS."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import subprocess
import threading

import gevent
import pytest

from ctwsgi.http.limits import Timeouts
from ctwsgi.source import make_source
from ctwsgi.trust import Trust, UnsafeListener
from ctwsgi.wire import proxy
from ctwsgi.wire.auth import Key, KeyRing
from ctwsgi.wire.ctframe import encode_stream
from tests.running import DEADLINE, ask, read_json, running, tell_origin

CLIENT, SHOP = ("192.0.2.7", 51234), ("198.18.3.4", 8080)
CLIENT6, SHOP6 = ("2001:db8::7", 51234), ("2001:db8::80", 443)
SECRET = bytes(range(32))
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


def dial(runner):
    address = runner.server.address
    family = socket.AF_UNIX if isinstance(address, str) else runner.server.family
    sock = socket.socket(family)
    sock.settimeout(DEADLINE)
    sock.connect(address)
    return sock


def refused(runner, data):
    """Sends `data`, sees the connection end without an answer, returns the reasons counted."""
    with dial(runner) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        try:
            assert sock.recv(1) == b""
        except ConnectionResetError:
            pass
    counters = runner.call(lambda: dict(runner.server.counters))
    return {name for name in counters if name.startswith("refused:")}


def test_none():
    with running(tell_origin) as runner, dial(runner) as sock:
        told = ask(sock)
        host, port = sock.getsockname()
        assert told["ct.orig_dst"] is None
        assert told["ct.orig_src"] == [host, port]
        assert (told["ct.source"], told["ct.verified"]) == ("none", False)
        assert (told["REMOTE_ADDR"], told["REMOTE_PORT"]) == (host, str(port))
        assert told["SERVER_NAME"] == "127.0.0.1"
        assert told["SERVER_PORT"] == str(runner.server.address[1])


def test_wildcard_listener_names_the_address_that_was_reached():
    with (
        running(tell_origin, ("0.0.0.0", 0)) as runner,
        socket.create_connection(("127.0.0.9", runner.server.address[1])) as sock,
    ):
        assert ask(sock)["SERVER_NAME"] == "127.0.0.9"


def test_dual_stack_listener_spells_mapped_addresses_as_ipv4():
    with (
        running(tell_origin, ("::", 0)) as runner,
        socket.create_connection(("127.0.0.1", runner.server.address[1])) as sock,
    ):
        told = ask(sock)
        assert told["REMOTE_ADDR"] == told["SERVER_NAME"] == "127.0.0.1"


def unix_listener(path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


def test_unix_listener(tmp_path):
    with running(tell_origin, unix_listener(tmp_path / "s")) as runner, dial(runner) as sock:
        told = ask(sock)
        assert told["ct.orig_src"] is None
        assert (told["REMOTE_ADDR"], told["REMOTE_PORT"]) == ("", "")
        assert (told["SERVER_NAME"], told["SERVER_PORT"]) == ("localhost", "80")


def test_proxy_header_on_a_unix_socket(tmp_path):
    listener = unix_listener(tmp_path / "s")
    with running(tell_origin, listener, source="proxy") as runner, dial(runner) as sock:
        told = ask(sock, proxy.encode_v2(CLIENT, SHOP))
        assert told["ct.orig_dst"] == list(SHOP)
        assert told["REMOTE_ADDR"] == CLIENT[0]


@pytest.mark.parametrize(
    ("header", "source", "src", "dst"),
    [
        (proxy.encode_v2(CLIENT, SHOP), "proxy", CLIENT, SHOP),
        (proxy.encode_v2(CLIENT6, SHOP6), "proxy-v2", CLIENT6, SHOP6),
        (proxy.encode_v1(CLIENT, SHOP), "proxy", CLIENT, SHOP),
        (proxy.encode_local(), "proxy", None, None),
        (proxy.encode_v1(None, None), "proxy", None, None),
        (proxy.encode_v2(None, None), "proxy", None, None),
    ],
)
def test_proxy(header, source, src, dst):
    with running(tell_origin, source=source) as runner, dial(runner) as sock:
        src = src or sock.getsockname()
        told = ask(sock, header)
        for _ in range(2):
            assert told["ct.orig_dst"] == (list(dst) if dst else None)
            assert told["ct.orig_src"] == list(src)
            assert (told["REMOTE_ADDR"], told["REMOTE_PORT"]) == (src[0], str(src[1]))
            assert (told["ct.source"], told["ct.verified"]) == ("proxy", False)
            told = ask(sock)  # the origin holds for the connection


def test_ctframe():
    with running(tell_origin, source="ctframe") as runner, dial(runner) as sock:
        sock.sendall(encode_stream(SHOP, GET + GET, 7))
        for _ in range(2):
            told = read_json(sock)
            assert told["ct.orig_dst"] == list(SHOP)
            assert told["ct.orig_src"] == list(sock.getsockname())
            assert (told["ct.source"], told["ct.verified"]) == ("ctframe", False)


def inline(**options):
    trust = Trust.parse(["inline"], guarded=options.pop("guarded", False))
    return make_source("proxy", trust=trust, **options)


def test_signed_header_is_verified():
    source = inline(keys=KeyRing.parse(f"7 {SECRET.hex()}"))
    with running(tell_origin, source=source) as runner, dial(runner) as sock:
        header = proxy.encode_v2(sock.getsockname(), SHOP, key=Key(7, SECRET))
        told = ask(sock, header)
        assert (told["ct.verified"], told["auth"]) == (True, 7)
        assert told["tlvs"][0][0] == 0xE7


REFUSED = [
    (None, "src-mismatch"),
    (proxy.encode_v2(CLIENT, SHOP, key=Key(7, b"x" * 32)), "auth-tag"),
    (proxy.encode_v2(CLIENT, SHOP, key=Key(8, SECRET)), "auth-key-id"),
    (proxy.encode_v2(CLIENT, SHOP, key=Key(7, SECRET), now=1), "auth-time"),
    (proxy.encode_v2(CLIENT, SHOP), "auth-missing"),
    (proxy.encode_v1(CLIENT, SHOP), "auth-v1"),
    (proxy.encode_local(), "auth-local"),
    (GET, "no-header"),
    (proxy.encode_v2(CLIENT, SHOP)[:20], "eof-in-header"),
]


@pytest.mark.parametrize(("header", "reason"), REFUSED)
def test_refused_headers(header, reason, caplog):
    # Signed now, because the tests may have been collected before the time window.
    header = header or proxy.encode_v2(CLIENT, SHOP, key=Key(7, SECRET))
    source = inline(keys=KeyRing.parse(f"7 {SECRET.hex()}"))
    with caplog.at_level(logging.WARNING, "ctwsgi"), running(tell_origin, source=source) as runner:
        assert refused(runner, header) == {f"refused:{reason}"}
        assert f"origin refused: {reason}" in caplog.text
        assert SHOP[0] not in caplog.text  # an origin that was not verified is not logged


def test_untrusted_peer_is_closed_before_a_byte_is_read():
    source = make_source("proxy", trust=Trust.parse(["192.0.2.0/24"]))
    with running(tell_origin, source=source) as runner, dial(runner) as sock:
        assert sock.recv(1) == b""
        assert runner.server.counters["refused:untrusted-peer"] == 1


def test_closing_without_a_byte_is_no_refusal():
    """Health checks and port scans connect and send nothing."""
    with running(tell_origin, source="proxy") as runner:
        assert refused(runner, b"") == set()


def test_no_origin_is_shown_before_a_head_has_parsed(caplog):
    """Any bytes can pass for a frame: only a valid request behind them shows that they were one."""
    seen = []
    frame = encode_stream(SHOP, b"\x16\x03\x01 no request\r\n\r\n")
    with caplog.at_level(logging.DEBUG), running(tell_origin, source="ctframe") as runner:
        runner.server.access = seen.append
        with dial(runner) as sock:
            sock.sendall(frame)
            assert sock.recv(13) == b"HTTP/1.1 400 "
    assert seen == []
    assert "malformed" in caplog.text
    assert SHOP[0] not in caplog.text


def test_proxy_v2_only():
    with running(tell_origin, source="proxy-v2") as runner:
        assert refused(runner, proxy.encode_v1(CLIENT, SHOP)) == {"refused:v1-not-accepted"}


def test_direct_connections_are_counted():
    with running(tell_origin, source="conntrack") as runner, dial(runner) as sock:
        assert ask(sock)["ct.orig_dst"] is None
        assert runner.server.counters["not-redirected"] == 1


@pytest.mark.parametrize("source", ["proxy", "ctframe"])
def test_drain_answers_what_came_with_the_origin(source):
    """A request counts as begun when its first bytes come in one segment with the header."""
    first, rest = encode_stream(SHOP, GET[:8]), encode_stream(SHOP, GET[8:])
    if source == "proxy":
        first, rest = proxy.encode_v2(CLIENT, SHOP) + GET[:8], GET[8:]
    with running(tell_origin, source=source) as runner, dial(runner) as sock:
        sock.sendall(first)
        assert runner.call(lambda: _until_begun(runner.server))
        stopper = drain_in_thread(runner)
        runner.call(
            lambda: gevent.sleep(0.8)
        )  # longer than a draining server keeps an idle connection
        sock.sendall(rest)
        assert read_json(sock)["ct.orig_dst"] == list(SHOP)
        sock.close()
        stopper.join(DEADLINE)


def test_origin_deadline():
    with running(tell_origin, source="proxy", timeouts=Timeouts(origin=0.1)) as runner:
        with dial(runner) as sock:
            sock.sendall(b"\r\n\r\n\0")
            assert sock.recv(1) == b""
        assert runner.server.counters["refused:origin-timeout"] == 1


def test_unsafe_listener_does_not_start():
    with pytest.raises(UnsafeListener), running(tell_origin, ("0.0.0.0", 0), source="proxy"):
        pass


def drain_in_thread(runner):
    def drain():
        assert runner.call(lambda: runner.server.drain(DEADLINE))

    thread = threading.Thread(target=drain)
    thread.start()
    return thread


def test_drain_answers_both_of_two_pipelined_requests():
    gate = []

    def wait_once(environ, start_response):
        if not gate:
            gate.append(gevent.event.Event())
            gate[0].wait()
        return tell_origin(environ, start_response)

    with running(wait_once) as runner, dial(runner) as sock:
        sock.sendall(GET + GET)
        while not gate:
            runner.call(lambda: gevent.sleep(0.01))
        stopper = drain_in_thread(runner)
        while not runner.call(lambda: runner.server.draining):
            pass
        runner.call(gate[0].set)
        answers = b""
        while piece := sock.recv(65536):
            answers += piece
        assert answers.count(b"HTTP/1.1 200 ") == 2
        assert answers.count(b"\r\nConnection: close\r\n") == 1
        sock.close()
        stopper.join(DEADLINE)


def test_drain_closes_idle_connections_and_answers_begun_requests():
    with running(tell_origin) as runner, dial(runner) as idle, dial(runner) as begun:
        ask(idle)
        begun.sendall(GET[:5])
        # The server has received it: the connection is no longer idle.
        assert runner.call(lambda: _until_begun(runner.server))
        stopper = drain_in_thread(runner)
        assert idle.recv(1) == b""
        begun.sendall(GET[5:])
        answer = b""
        while piece := begun.recv(4096):
            answer += piece
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nConnection: close\r\n" in answer
        begun.close()
        stopper.join(DEADLINE)


def _until_begun(server):
    while all(c.idle_since != float("inf") for c in server._connections):
        gevent.sleep(0.01)
    return True


def test_connection_cap_makes_clients_wait():
    with running(tell_origin, max_connections=1) as runner, dial(runner) as first:
        ask(first)
        with dial(runner) as second:
            second.sendall(GET)
            first.close()
            assert read_json(second)["ct.source"] == "none"
        assert runner.server.counters["accepted"] == 2


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    command += f" -addext subjectAltName=DNS:localhost -keyout {key} -out {cert}"
    subprocess.run(command.split(), check=True, capture_output=True)
    return str(cert), str(key)


def tls_options(certificate):
    from gevent.ssl import SSLContext

    context = SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return {"ssl_context": context}


def test_tls(certificate):
    trusting = ssl.create_default_context(cafile=certificate[0])
    with (
        running(tell_origin, **tls_options(certificate)) as runner,
        trusting.wrap_socket(dial(runner), server_hostname="localhost") as sock,
    ):
        assert ask(sock)["wsgi.url_scheme"] == "https"
        assert ask(sock)["ct.source"] == "none"


def ask_tls(runner, certificate):
    trusting = ssl.create_default_context(cafile=certificate[0])
    with trusting.wrap_socket(dial(runner), server_hostname="localhost") as sock:
        return ask(sock)


def test_tls_handshake_deadline_and_noise(certificate):
    options = tls_options(certificate)
    # Also the good handshake has to end in this time.
    with running(tell_origin, timeouts=Timeouts(origin=2), **options) as runner:
        with dial(runner) as silent:
            assert silent.recv(1) == b""
        with dial(runner) as noisy:
            noisy.sendall(GET * 3)
            noisy.settimeout(DEADLINE)
            try:
                answer = noisy.recv(1000)
            except ConnectionResetError:
                answer = b""
            assert b"HTTP" not in answer  # a TLS alert at most
        assert ask_tls(runner, certificate)["ct.source"] == "none"  # and it goes on serving


def test_slow_reader_does_not_hold_others():
    big = os.urandom(1 << 20)

    def app(environ, start_response):
        if environ["PATH_INFO"] != "/big":
            return tell_origin(environ, start_response)
        start_response("200 OK", [])
        return iter([big] * 64)

    with running(app, timeouts=Timeouts(body=0.3)) as runner, dial(runner) as slow:
        slow.sendall(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
        with dial(runner) as quick:
            assert ask(quick)["ct.source"] == "none"
        while not runner.call(lambda: runner.server.counters["disconnected"]):
            pass  # the reaper gives up on the client that takes nothing


def test_stop_cuts_what_does_not_end():
    """stop() ends a request that never becomes complete, and returns."""
    with running(tell_origin) as runner, dial(runner) as begun:
        begun.sendall(GET[:5])
        assert runner.call(lambda: _until_begun(runner.server))
        runner.call(lambda: runner.server.stop(timeout=0.1))
        assert begun.recv(1) == b""

# SPDX-License-Identifier: MIT
"""OriginMiddleware under gunicorn with --proxy-protocol: the origin is the PROXY header's."""

from __future__ import annotations

import socket
import struct

import pytest

from tests.lab.wait import DEADLINE

from .middleware_servers import ask, gunicorn, running

V2 = b"\r\n\r\n\0\r\nQUIT\n"
"""The signature of PROXY protocol v2. This file builds headers without the code under test."""


def proxy_v2(src, dst):
    family = socket.AF_INET6 if ":" in src[0] else socket.AF_INET
    hosts = socket.inet_pton(family, src[0]) + socket.inet_pton(family, dst[0])
    body = hosts + struct.pack("!HH", src[1], dst[1])
    code = 0x21 if family == socket.AF_INET6 else 0x11
    return V2 + struct.pack("!BBH", 0x21, code, len(body)) + body


def proxy_v1(src, dst):
    family = "TCP6" if ":" in src[0] else "TCP4"
    return f"PROXY {family} {src[0]} {dst[0]} {src[1]} {dst[1]}\r\n".encode()


HEADERS = {
    "v2": (proxy_v2, ("203.0.113.9", 4711), ("198.18.7.1", 80)),
    "v2-ipv6": (proxy_v2, ("2001:db8::9", 4711), ("2001:db8:1::7", 443)),
    "v1": (proxy_v1, ("203.0.113.9", 4711), ("198.18.7.1", 80)),
    "v1-ipv6": (proxy_v1, ("2001:db8::9", 4711), ("2001:db8:1::7", 443)),
}
WORKERS = {"gunicorn-sync": (), "gunicorn-gevent": (), "gunicorn-gthread": pytest.mark.full}


@pytest.fixture(scope="module")
def proxied(request, tmp_path_factory):
    """(worker, dial): gunicorn with --proxy-protocol on loopback, which needs no rights."""
    worker, options = request.param
    directory = tmp_path_factory.mktemp("proxied")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        line = [*gunicorn(worker), "--bind", f"fd://{fd}", "--proxy-protocol", "auto", "where:app"]
        address = listener.getsockname()
        with running(line, directory, options, pass_fds=[fd]):
            yield worker, lambda: socket.create_connection(address, timeout=DEADLINE)


def trusting(workers):
    return pytest.mark.parametrize(
        "proxied",
        [
            pytest.param((worker, {"trust_gunicorn_proxy": True}), id=worker, marks=marks)
            for worker, marks in workers.items()
        ],
        indirect=True,
    )


class TestGunicornProxyProtocol:
    @trusting(WORKERS)
    @pytest.mark.parametrize("case", HEADERS)
    def test_the_header_is_the_origin(self, proxied, case):
        encode, src, dst = HEADERS[case]
        sock = proxied[1]()
        sock.sendall(encode(src, dst))
        count = 1 if proxied[0] == "gunicorn-sync" else 3
        answers = ask(sock, count)
        for status, got in answers:
            assert status == 200
            assert (got["ct.source"], got["ct.verified"]) == ("proxy", False)
            assert got["ct.orig_dst"] == list(dst)
            assert got["ct.orig_src"] == list(src)
            assert [got["REMOTE_ADDR"], got["REMOTE_PORT"]] == [src[0], str(src[1])]
        assert len(answers) == count

    @trusting(WORKERS)
    @pytest.mark.parametrize("code", [0x20, 0x21], ids=["LOCAL", "UNSPEC"])
    def test_without_addresses_the_real_endpoints_are_kept(self, proxied, code):
        sock = proxied[1]()
        peer = list(sock.getsockname())
        sock.sendall(V2 + struct.pack("!BBH", code, 0x01 if code == 0x21 else 0x11, 0))
        [(status, got)] = ask(sock)
        assert status == 200
        assert (got["ct.source"], got["ct.orig_dst"]) == ("proxy", None)
        assert got["ct.orig_src"] == peer
        assert [got["REMOTE_ADDR"], got["REMOTE_PORT"]] == [peer[0], str(peer[1])]

    @trusting(WORKERS)
    def test_without_a_header_nothing_is_guessed(self, proxied):
        [(status, got)] = ask(proxied[1]())
        assert status == 200
        assert (got["ct.source"], got["ct.orig_dst"]) == ("none", None)

    @pytest.mark.parametrize(
        "proxied", [pytest.param(("gunicorn-sync", {}), id="untrusting")], indirect=True
    )
    def test_untrusted_the_header_is_not_the_origin(self, proxied):
        encode, src, dst = HEADERS["v2"]
        sock = proxied[1]()
        peer = list(sock.getsockname())
        sock.sendall(encode(src, dst))
        [(status, got)] = ask(sock)
        assert status == 200
        assert got["ct.source"] != "proxy"
        assert (got["ct.orig_dst"], got["ct.verified"]) == (None, False)
        assert got["ct.orig_src"] == peer

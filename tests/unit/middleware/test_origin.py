# SPDX-License-Identifier: MIT
"""The origin that OriginMiddleware learns, from each place where a server leaves it.

The kernel's answers for redirected connections, and the servers that put sockets into environ, are
in tests/net/test_middleware_*.py.
"""

from __future__ import annotations

import gc
import http.client
import logging
import socket
import threading

import pytest
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.serving import make_server
from werkzeug.test import Client, create_environ

from ctwsgi.middleware import OriginMiddleware
from ctwsgi.origin import Origin
from ctwsgi.testing import origin_environ

from .support import HEADER_DST, HEADER_SRC, get, gunicorn_environ


def ct_keys(environ):
    return {k: v for k, v in environ.items() if k.startswith("ct.")}


class TestUnderOurServer:
    """Uses an origin that is already in environ."""

    def test_it_is_passed_through_untouched(self, app):
        before = create_environ(environ_overrides=origin_environ("198.18.0.7", 8080))
        sent = dict(before)
        list(OriginMiddleware(app)(before, lambda *_: None))
        assert app.environ is before
        assert app.environ == sent

    def test_a_socket_beside_it_is_not_asked(self, app, connection):
        keys = origin_environ("198.18.0.7", source="proxy")
        get(OriginMiddleware(app), keys, **{"gunicorn.socket": connection[0]})
        assert app.environ["ct.origin"] is keys["ct.origin"]

    def test_even_a_falsy_one_is_kept(self, app, connection):
        keys = origin_environ(source="tproxy")
        get(OriginMiddleware(app), keys, **{"werkzeug.socket": connection[0]})
        assert app.environ["ct.origin"] is keys["ct.origin"]

    def test_twice_is_once(self, app, connection):
        twice = OriginMiddleware(OriginMiddleware(app))
        get(twice, gunicorn_environ(connection[0]))
        assert "ct.origin" in app.environ
        assert not twice.app._known, "the inner one asked again"


class TestNoSocket:
    def test_the_source_is_none_and_the_peer_is_the_servers_word(self, app):
        get(OriginMiddleware(app), REMOTE_ADDR="192.0.2.9", REMOTE_PORT="4711")
        expected = Origin("none", None, ("192.0.2.9", 4711), False)
        assert ct_keys(app.environ) == expected.environ()

    def test_a_server_that_gives_no_port_gives_no_peer(self, app):
        get(OriginMiddleware(app), REMOTE_ADDR="192.0.2.9")
        assert app.environ["ct.orig_src"] is None
        assert app.environ["REMOTE_ADDR"] == "192.0.2.9"

    def test_remote_is_respelled_as_the_contract_has_it(self, app):
        get(OriginMiddleware(app), REMOTE_ADDR="::ffff:192.0.2.9", REMOTE_PORT=4711)
        assert (app.environ["REMOTE_ADDR"], app.environ["REMOTE_PORT"]) == ("192.0.2.9", "4711")
        get(OriginMiddleware(app), REMOTE_ADDR="fe80::1%eth0", REMOTE_PORT="1")
        assert app.environ["REMOTE_ADDR"] == "fe80::1"

    def test_proxy_keys_without_gunicorn_are_nobodys(self, app):
        keys = gunicorn_environ(None)
        del keys["gunicorn.socket"]
        get(OriginMiddleware(app, trust_gunicorn_proxy=True), keys)
        assert app.environ["ct.source"] == "none"
        assert app.environ["ct.orig_dst"] is None

    def test_no_request_header_reaches_the_keys(self, app):
        headers = [
            (name, "198.18.6.66")
            for name in ("ct.orig_dst", "ct.origin", "Ct-Origin", "gunicorn.socket", "PROXY-ADDR")
        ]
        headers.append(("PROXY-PROTOCOL", "TCP4"))
        Client(OriginMiddleware(app, trust_gunicorn_proxy=True)).get(
            "/", headers=headers, buffered=True
        )
        assert app.environ["ct.origin"] == Origin("none", None, None, False)


class TestKernelCannotBeAsked:
    """A unix socket has no conntrack entry, a failure that needs no particular kernel."""

    @pytest.fixture
    def unix(self):
        one, two = socket.socketpair(socket.AF_UNIX)
        with one, two:
            yield {"gunicorn.socket": one, "REMOTE_ADDR": ""}

    def test_the_application_sees_none(self, app, unix):
        middleware = OriginMiddleware(app)
        assert get(middleware, unix).status_code == 200
        assert ct_keys(app.environ) == Origin("none").environ()
        assert middleware.counters == {"unknown:conntrack-unsupported": 1}

    def test_each_reason_is_counted_always_and_logged_once(self, app, unix, caplog):
        middleware = OriginMiddleware(app)
        with caplog.at_level(logging.WARNING, "ctwsgi"):
            for _ in range(3):
                get(middleware, unix)
        assert middleware.counters == {"unknown:conntrack-unsupported": 3}
        assert [r.getMessage() for r in caplog.records] == [
            "origin unknown: conntrack-unsupported: a unix socket has no conntrack entry "
            "(only the first is logged)"
        ]

    def test_required_it_is_the_servers_failure(self, app, unix):
        middleware = OriginMiddleware(app, require_redirect=True)
        response = get(middleware, unix)
        assert (response.status_code, response.mimetype) == (503, "text/plain")
        assert app.environ is None
        assert middleware.counters == {"refused:conntrack-unsupported": 1}

    def test_a_closed_socket_is_no_traceback(self, app, connection):
        accepted, _ = connection
        accepted.close()
        middleware = OriginMiddleware(app)
        assert get(middleware, **{"werkzeug.socket": accepted}).status_code == 200
        assert app.environ["ct.origin"] == Origin("none")
        assert middleware.counters == {"unknown:conntrack-error": 1}


class TestGunicornProxy:
    def test_the_header_is_the_origin_and_is_not_verified(self, app, connection):
        get(OriginMiddleware(app, trust_gunicorn_proxy=True), gunicorn_environ(connection[0]))
        assert ct_keys(app.environ) == Origin("proxy", HEADER_DST, HEADER_SRC, False).environ()
        assert (app.environ["REMOTE_ADDR"], app.environ["REMOTE_PORT"]) == ("203.0.113.9", "4711")

    def test_untrusted_the_header_is_not_the_origin(self, app, connection):
        get(OriginMiddleware(app), gunicorn_environ(connection[0]))
        assert app.environ["ct.source"] != "proxy"
        assert app.environ["ct.orig_dst"] is None
        assert app.environ["ct.orig_src"] == connection[1].getsockname()

    def test_v4_mapped_addresses_come_out_as_ipv4(self, app, connection):
        mapped = gunicorn_environ(
            connection[0], ("::ffff:198.18.0.7", 80), ("::ffff:203.0.113.9", 4711), "TCP6"
        )
        get(OriginMiddleware(app, trust_gunicorn_proxy=True), mapped)
        assert app.environ["ct.orig_dst"] == HEADER_DST
        assert app.environ["ct.orig_src"] == HEADER_SRC
        assert app.environ["REMOTE_ADDR"] == "203.0.113.9"

    @pytest.mark.parametrize("protocol", ["LOCAL", "UNSPEC"])
    def test_local_and_unspec_keep_the_real_endpoints(self, app, connection, protocol):
        accepted, client = connection
        keys = {
            "gunicorn.socket": accepted,
            "PROXY_PROTOCOL": protocol,
            "PROXY_ADDR": None,
            "PROXY_PORT": "None",
            "REMOTE_ADDR": None,
            "REMOTE_PORT": "None",
        }
        get(OriginMiddleware(app, trust_gunicorn_proxy=True), keys)
        peer = client.getsockname()
        assert ct_keys(app.environ) == Origin("proxy", None, peer, False).environ()
        assert (app.environ["REMOTE_ADDR"], app.environ["REMOTE_PORT"]) == (peer[0], str(peer[1]))

    def test_local_from_a_unix_peer(self, app):
        one, two = socket.socketpair(socket.AF_UNIX)
        with one, two:
            keys = {
                "gunicorn.socket": one,
                "PROXY_PROTOCOL": "LOCAL",
                "PROXY_ADDR": None,
                "PROXY_PORT": "None",
                "REMOTE_ADDR": None,
                "REMOTE_PORT": "None",
            }
            get(OriginMiddleware(app, trust_gunicorn_proxy=True), keys)
        assert app.environ["ct.origin"] == Origin("proxy")
        assert app.environ["REMOTE_ADDR"] == ""
        assert app.environ["REMOTE_PORT"] == ""

    def test_a_missing_header_is_not_replaced_by_a_guess(self, app, connection):
        keys = {"gunicorn.socket": connection[0], "REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": "1"}
        middleware = OriginMiddleware(app, trust_gunicorn_proxy=True)
        assert get(middleware, keys).status_code == 200
        peer = connection[1].getsockname()
        assert app.environ["ct.origin"] == Origin("none", None, peer, False)
        assert middleware.counters == {"unknown:not-redirected": 1}
        strict = OriginMiddleware(app, trust_gunicorn_proxy=True, require_redirect=True)
        assert get(strict, keys).status_code == 421

    def test_the_header_holds_for_the_connection(self, app, connection):
        """gunicorn's gthread worker shows it to the first request of a connection only."""
        middleware = OriginMiddleware(app, trust_gunicorn_proxy=True)
        get(middleware, gunicorn_environ(connection[0]))
        first = app.environ["ct.origin"]
        later = {"gunicorn.socket": connection[0], "REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": "1"}
        get(middleware, later)
        assert app.environ["ct.origin"] is first
        assert (app.environ["REMOTE_ADDR"], app.environ["REMOTE_PORT"]) == ("203.0.113.9", "4711")

    def test_an_origin_is_forgotten_with_its_connection(self, app):
        middleware = OriginMiddleware(app, trust_gunicorn_proxy=True)
        with socket.socket() as sock:
            get(middleware, gunicorn_environ(sock))
            assert len(middleware._known) == 1
        app.environ.clear()
        del sock
        gc.collect()  # werkzeug's test client keeps its requests in cycles
        assert len(middleware._known) == 0


FORWARDED = {
    "HTTP_X_FORWARDED_FOR": "192.0.2.66",
    "HTTP_X_FORWARDED_HOST": "shop.example",
    "HTTP_X_FORWARDED_PORT": "8443",
}
FIX = {"x_for": 1, "x_host": 1, "x_port": 1}


class TestWithProxyFix:
    """docs/middleware.md: OriginMiddleware is outermost, so that it sees the server's environ."""

    def request(self, sock):
        return {**gunicorn_environ(sock), **FORWARDED}

    def test_outermost_the_origin_is_the_connections_and_remote_the_headers(self, app, connection):
        right = OriginMiddleware(
            ProxyFix(app, **FIX), trust_gunicorn_proxy=True, rewrite_server=True
        )
        get(right, self.request(connection[0]))
        assert app.environ["ct.origin"] == Origin("proxy", HEADER_DST, HEADER_SRC, False)
        assert app.environ["REMOTE_ADDR"] == "192.0.2.66"
        assert app.environ["HTTP_HOST"] == "shop.example:8443"
        assert app.environ["SERVER_PORT"] == "8443"

    def test_innermost_it_takes_the_headers_for_the_servers_word(self, app, connection):
        wrong = ProxyFix(
            OriginMiddleware(app, trust_gunicorn_proxy=True, rewrite_server=True), **FIX
        )
        get(wrong, self.request(connection[0]))
        assert app.environ["ct.orig_dst"] == HEADER_DST
        assert app.environ["ct.orig_src"] == ("192.0.2.66", 4711), "half header, half forged"
        assert app.environ["SERVER_PORT"] == "80", "ProxyFix is overruled"

    def test_innermost_what_the_socket_says_still_holds(self, app, connection):
        wrong = ProxyFix(OriginMiddleware(app), **FIX)
        get(wrong, {**FORWARDED, "werkzeug.socket": connection[0]})
        assert app.environ["ct.orig_src"] == connection[1].getsockname()
        assert app.environ["REMOTE_ADDR"] == "192.0.2.66"

    @pytest.mark.parametrize("forged", ["::zz", "a:b", "unknown", '"[2001:db8::1]:80"', "%"])
    def test_no_forwarded_word_is_a_traceback(self, app, connection, forged):
        wrong = ProxyFix(OriginMiddleware(app, trust_gunicorn_proxy=True), **FIX)
        keys = {**self.request(connection[0]), "HTTP_X_FORWARDED_FOR": forged}
        assert get(wrong, keys).status_code == 200
        assert app.environ["ct.orig_src"] is None


def test_under_werkzeugs_server_on_a_unix_socket(app, tmp_path):
    path = str(tmp_path / "socket")
    server = make_server(f"unix://{path}", 0, OriginMiddleware(app))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        client = http.client.HTTPConnection("localhost")
        client.sock = socket.socket(socket.AF_UNIX)
        client.sock.connect(path)
        client.request("GET", "/")
        assert client.getresponse().read() == b"ok"
        client.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert app.environ["ct.origin"] == Origin("none")
    assert app.environ["REMOTE_ADDR"] == ""

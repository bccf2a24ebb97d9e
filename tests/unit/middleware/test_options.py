# SPDX-License-Identifier: MIT
"""What OriginMiddleware does with the origin: allow, refuse_loops, refusals, rewrite_server."""

from __future__ import annotations

import pytest
from werkzeug.middleware.lint import LintMiddleware
from werkzeug.test import Client, create_environ

from ctwsgi.middleware import OriginMiddleware
from ctwsgi.testing import origin_environ

from .support import get, gunicorn_environ


class TestAllow:
    @pytest.mark.parametrize(
        ("word", "destination", "allowed"),
        [
            ("198.18.0.7", ("198.18.0.7", 80), True),
            ("198.18.0.7", ("198.18.0.7", 1), True),
            ("198.18.0.7", ("198.18.0.8", 80), False),
            ("198.18.0.7:80", ("198.18.0.7", 80), True),
            ("198.18.0.7:80", ("198.18.0.7", 81), False),
            ("198.18.0.0/15", ("198.19.255.255", 80), True),
            ("198.18.0.0/15", ("198.20.0.0", 80), False),
            ("198.18.0.0/15", ("2001:db8::7", 80), False),
            ("2001:db8::7", ("2001:db8::7", 443), True),
            ("2001:DB8:0::7", ("2001:db8::7", 443), True),
            ("[2001:db8::7]:443", ("2001:db8::7", 443), True),
            ("[2001:db8::7]:443", ("2001:db8::7", 80), False),
            ("2001:db8::/32", ("2001:db8:ffff::1", 80), True),
            ("2001:db8::/32", ("2001:db9::1", 80), False),
        ],
    )
    def test_words(self, app, word, destination, allowed):
        middleware = OriginMiddleware(app, allow=[word])
        response = get(middleware, origin_environ(*destination))
        assert response.status_code == (200 if allowed else 421)
        assert middleware.counters == ({} if allowed else {"refused:not-allowed": 1})

    def test_one_of_several(self, app):
        middleware = OriginMiddleware(app, allow=["192.0.2.1", "198.18.0.0/15", "[2001:db8::1]:80"])
        for destination in ("192.0.2.1", "198.18.3.4", "2001:db8::1"):
            assert get(middleware, origin_environ(destination)).status_code == 200

    def test_a_lone_word_is_a_list_of_one(self, app):
        middleware = OriginMiddleware(app, allow="198.18.0.7")
        assert get(middleware, origin_environ("198.18.0.7")).status_code == 200

    def test_an_empty_list_allows_nothing(self, app):
        assert get(OriginMiddleware(app, allow=[]), origin_environ("198.18.0.7")).status_code == 421

    def test_a_direct_connection_is_on_no_list(self, app):
        middleware = OriginMiddleware(app, allow=["198.18.0.7"])
        assert get(middleware, origin_environ()).status_code == 421
        assert middleware.counters == {"refused:not-redirected": 1}

    def test_unless_it_is_let_in_by_name(self, app):
        middleware = OriginMiddleware(app, allow=["198.18.0.7"], require_redirect=False)
        assert get(middleware, origin_environ()).status_code == 200
        assert get(middleware, origin_environ("198.18.0.8")).status_code == 421

    @pytest.mark.parametrize("word", ["example.com", "198.18.0.7/15", "198.18.0.7:0", "", "*"])
    def test_a_word_that_is_no_address_stops_the_start(self, app, word):
        with pytest.raises(ValueError, match=r".+"):
            OriginMiddleware(app, allow=[word])


class TestLoops:
    @pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1"])
    def test_an_address_of_this_host(self, app, host):
        middleware = OriginMiddleware(app, refuse_loops=True)
        assert get(middleware, origin_environ(host, 80)).status_code == 508
        assert middleware.counters == {"refused:loop": 1}

    def test_only_on_request(self, app):
        assert get(OriginMiddleware(app), origin_environ("127.0.0.1", 80)).status_code == 200

    @pytest.mark.parametrize(
        ("destination", "status"),
        [
            (("203.0.113.1", 80), 508),
            (("203.0.113.1", 81), 508),
            (("203.0.113.2", 80), 508),
            (("203.0.113.2", 81), 200),
            (("2001:db8::9", 80), 508),
            (("2001:db8::9", 81), 200),
        ],
    )
    def test_addresses_that_nat_brings_here(self, app, destination, status):
        words = ["203.0.113.1", "203.0.113.2:80", "[2001:db8::9]:80"]
        middleware = OriginMiddleware(app, refuse_loops=True, self_addresses=words)
        assert get(middleware, origin_environ(*destination)).status_code == status

    def test_the_listener_as_the_server_names_it(self, app):
        """Without a socket in environ. Our server's SERVER_NAME is an address and never empty."""
        middleware = OriginMiddleware(app, refuse_loops=True)
        listener = {"SERVER_NAME": "198.18.0.7", "SERVER_PORT": "80"}
        assert get(middleware, origin_environ("198.18.0.7", 80), **listener).status_code == 508
        assert get(middleware, origin_environ("198.18.0.7", 81), **listener).status_code == 200

    def test_the_listener_as_the_socket_names_it(self, app, connection):
        middleware = OriginMiddleware(app, refuse_loops=True, trust_gunicorn_proxy=True)
        keys = gunicorn_environ(connection[0], dst=connection[0].getsockname())
        assert get(middleware, keys).status_code == 508

    def test_a_closed_socket_is_no_traceback(self, app, connection):
        connection[0].close()
        middleware = OriginMiddleware(app, refuse_loops=True)
        keys = {**origin_environ("198.18.0.7"), "gunicorn.socket": connection[0]}
        assert get(middleware, keys).status_code == 200

    def test_a_direct_connection_is_not_a_loop(self, app):
        assert get(OriginMiddleware(app, refuse_loops=True), origin_environ()).status_code == 200

    def test_misuse_stops_the_start(self, app):
        with pytest.raises(ValueError, match="self_addresses"):
            OriginMiddleware(app, self_addresses=["203.0.113.1"])
        with pytest.raises(ValueError, match="portal"):
            OriginMiddleware(app, refuse_loops=True, self_addresses=["portal"])


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "environ", "status"),
        [
            ({"allow": ["198.18.0.8"]}, origin_environ("198.18.0.7"), "421 Misdirected Request"),
            ({"require_redirect": True}, origin_environ(), "421 Misdirected Request"),
            ({"refuse_loops": True}, origin_environ("127.0.0.1"), "508 Loop Detected"),
        ],
    )
    def test_small_plain_text_that_repeats_nothing_of_the_request(
        self, app, options, environ, status
    ):
        middleware = OriginMiddleware(app, **options)
        response = Client(LintMiddleware(middleware)).get(
            "/secret-path",
            headers={"Host": "evil.example"},
            environ_overrides=environ,
            buffered=True,
        )
        assert response.status == status
        assert response.content_type == "text/plain; charset=utf-8"
        assert 0 < len(response.data) < 200
        assert int(response.headers["Content-Length"]) == len(response.data)
        for word in ("evil", "secret", "198.18.0.7", "127.0.0.1"):
            assert word not in response.text
            assert word not in str(response.headers)
        assert app.environ is None

    def test_head_has_no_body(self, app):
        # Without lint, which rejects the Content-Length of a response to HEAD.
        client = Client(OriginMiddleware(app, allow=[]))
        response = client.head("/", environ_overrides=origin_environ("198.18.0.7"), buffered=True)
        assert (response.status_code, response.data) == (421, b"")


class TestRewrite:
    @pytest.mark.parametrize(
        ("destination", "scheme", "host"),
        [
            (("198.18.0.7", 80), "http", "198.18.0.7"),
            (("198.18.0.7", 443), "https", "198.18.0.7"),
            (("198.18.0.7", 443), "http", "198.18.0.7:443"),
            (("198.18.0.7", 8080), "http", "198.18.0.7:8080"),
            (("2001:db8::7", 80), "http", "[2001:db8::7]"),
            (("2001:db8::7", 8080), "http", "[2001:db8::7]:8080"),
        ],
    )
    @pytest.mark.parametrize("missing", ["absent", "empty"])
    def test_a_missing_host_becomes_the_destination(self, app, destination, scheme, host, missing):
        environ = create_environ(environ_overrides=origin_environ(*destination))
        environ["wsgi.url_scheme"] = scheme
        environ["HTTP_HOST"] = ""
        if missing == "absent":
            del environ["HTTP_HOST"]
        list(OriginMiddleware(app, rewrite_server=True)(environ, lambda *_: None))
        assert app.environ["SERVER_NAME"] == destination[0]
        assert app.environ["SERVER_PORT"] == str(destination[1])
        assert app.environ["HTTP_HOST"] == host

    def test_a_host_that_is_there_stays(self, app):
        client = Client(OriginMiddleware(app, rewrite_server=True))
        overrides = origin_environ("198.18.0.7", 80)
        client.get("/", headers={"Host": "captive.example"}, environ_overrides=overrides)
        assert app.environ["HTTP_HOST"] == "captive.example"
        assert app.environ["SERVER_NAME"] == "198.18.0.7"

    def test_only_on_request(self, app):
        get(OriginMiddleware(app), origin_environ("198.18.0.7", 8080))
        assert (app.environ["SERVER_NAME"], app.environ["SERVER_PORT"]) == ("localhost", "80")

    def test_a_direct_connection_keeps_its_server(self, app):
        get(OriginMiddleware(app, rewrite_server=True), origin_environ())
        assert (app.environ["SERVER_NAME"], app.environ["SERVER_PORT"]) == ("localhost", "80")

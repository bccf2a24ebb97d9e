# SPDX-License-Identifier: MIT
"""`ctwsgi.flask.origin` and the `origin_environ` helper, in views of a real Flask app."""

from __future__ import annotations

import subprocess
import sys

import pytest
from flask import Flask, jsonify

from ctwsgi.flask import origin
from ctwsgi.middleware import OriginMiddleware
from ctwsgi.origin import Origin
from ctwsgi.testing import origin_environ


def create_app(**options: object) -> Flask:
    """A factory, as the manual shows it."""
    app = Flask(__name__)
    app.wsgi_app = OriginMiddleware(app.wsgi_app, **options)
    add_views(app)
    return app


def add_views(app: Flask) -> None:
    @app.get("/")
    def where():
        return jsonify(
            redirected=bool(origin),
            orig_dst=origin.orig_dst,
            orig_src=origin.orig_src,
            source=origin.source,
            verified=origin.verified,
        )

    @app.get("/remote")
    def remote():
        from flask import request

        return jsonify(request.remote_addr, request.environ.get("REMOTE_PORT"))


def bare_app() -> Flask:
    app = Flask(__name__)
    add_views(app)
    return app


@pytest.mark.parametrize("make", [create_app, bare_app])
def test_a_unit_test_sets_the_origin_with_and_without_the_middleware(make):
    client = make().test_client()
    got = client.get("/", environ_overrides=origin_environ("198.18.0.7", 8080)).json
    assert got == {
        "redirected": True,
        "orig_dst": ["198.18.0.7", 8080],
        "orig_src": ["127.0.0.1", 49152],
        "source": "conntrack",
        "verified": True,
    }


@pytest.mark.parametrize("make", [create_app, bare_app])
def test_outside_redirected_traffic_it_is_falsy(make):
    got = make().test_client().get("/").json
    assert (got["redirected"], got["orig_dst"]) == (False, None)
    assert (got["source"], got["verified"]) == ("none", False)


def test_outside_any_request_it_is_falsy():
    assert not origin
    assert origin == Origin("none")
    assert origin.orig_dst is None
    with create_app().app_context():
        assert not origin


def test_in_a_request_context_it_is_the_origin_itself():
    app = create_app()
    with app.test_request_context(environ_overrides=origin_environ("2001:db8::7", 443)):
        assert origin
        assert isinstance(origin, Origin)
        assert origin.orig_dst == ("2001:db8::7", 443)
        assert origin._get_current_object() == Origin(
            "conntrack", ("2001:db8::7", 443), ("127.0.0.1", 49152), True
        )
    assert not origin


def test_each_request_has_its_own():
    client = create_app().test_client()
    for host in ("198.18.0.1", "198.18.0.2"):
        got = client.get("/", environ_overrides=origin_environ(host)).json
        assert got["orig_dst"] == [host, 80]
    assert client.get("/").json["orig_dst"] is None


def test_the_options_apply_to_a_test_clients_origin():
    client = create_app(allow=["198.18.0.0/15"], refuse_loops=True).test_client()
    assert client.get("/", environ_overrides=origin_environ("198.19.255.255")).status_code == 200
    assert client.get("/", environ_overrides=origin_environ("198.20.0.0")).status_code == 421
    assert client.get("/").status_code == 421


class TestOriginEnviron:
    def test_the_client_is_in_remote_as_well(self):
        environ = origin_environ("198.18.0.7", src=("192.0.2.9", 4711))
        assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("192.0.2.9", "4711")
        client = create_app().test_client()
        assert client.get("/remote", environ_overrides=environ).json == ["192.0.2.9", "4711"]

    def test_a_unix_peer(self):
        environ = origin_environ("198.18.0.7", source="proxy", src=None)
        assert environ["ct.orig_src"] is None
        assert environ["REMOTE_ADDR"] == ""

    def test_without_a_host_the_connection_was_not_redirected(self):
        environ = origin_environ()
        assert environ["ct.orig_dst"] is None
        assert environ["ct.source"] == "conntrack"
        assert environ["ct.verified"] is False

    def test_the_five_keys_and_the_object_agree(self):
        environ = origin_environ(
            "198.18.0.7", 80, source="proxy", tlvs=((0xE7, b"x"),), auth=3, src=("192.0.2.9", 1)
        )
        expected = Origin(
            "proxy", ("198.18.0.7", 80), ("192.0.2.9", 1), True, ((0xE7, b"x"),), auth=3
        )
        assert environ["ct.origin"] == expected
        assert {k: v for k, v in environ.items() if k.startswith("ct.")} == expected.environ()

    @pytest.mark.parametrize(
        ("source", "auth", "verified"),
        [
            ("conntrack", None, True),
            ("tproxy", None, True),
            ("proxy", None, False),
            ("proxy", 1, True),
            ("ctframe", None, False),
        ],
    )
    def test_verified_is_what_the_source_would_say(self, source, auth, verified):
        assert origin_environ("198.18.0.7", source=source, auth=auth)["ct.verified"] is verified

    def test_verified_can_be_said(self):
        assert origin_environ("198.18.0.7", verified=False)["ct.verified"] is False

    def test_v4_mapped_comes_out_as_the_contract_spells_it(self):
        assert origin_environ("::ffff:198.18.0.7", 80)["ct.orig_dst"] == ("198.18.0.7", 80)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"host": "example.com"},
            {"host": "[2001:db8::1]"},
            {"host": "198.18.0.7", "port": 65536},
            {"host": "198.18.0.7", "port": -1},
            {"host": "198.18.0.7", "source": "guess"},
            {"host": "198.18.0.7", "source": "none"},
            {"src": ("client", 1)},
        ],
    )
    def test_what_no_source_could_say_is_refused(self, arguments):
        with pytest.raises(ValueError, match=r"not an IP address|not a port|no destination"):
            origin_environ(**arguments)


def test_the_middleware_does_not_need_flask():
    code = "import sys; sys.modules['flask'] = None; import ctwsgi.middleware, ctwsgi.testing"
    subprocess.run([sys.executable, "-c", code], check=True)

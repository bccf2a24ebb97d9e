# SPDX-License-Identifier: MIT
"""Random requests to every application get an answer, and never an error of the portal."""

from __future__ import annotations

import secrets
import socket
from urllib.parse import urlencode

import pytest
from ctwsgi_portal.config import parse
from ctwsgi_portal.state import open_store
from ctwsgi_portal.web.application import ByListener
from ctwsgi_portal.web.portal import Portal
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug import test
from werkzeug.security import generate_password_hash

from ctwsgi.testing import origin_environ
from tests.lab.streams import receive_until_closed

from .serving import OWN, REDIRECTED

CONFIG = """
[portal]
name = "Hotel"
url = "http://portal.example:8081"
store = "sqlite:unused"
secret_file = "unused"
[listen.redirected]
bind = "127.0.0.1:8080"
[listen.portal]
bind = "127.0.0.1:8081"
[listen.api]
bind = "127.0.0.1:8443"
certfile = "unused"
[access]
methods = ["click", "voucher", "password"]
[[networks]]
name = "guests"
addresses = ["10.0.0.0/8", "2001:db8::/64"]
[users]
alice = "{hash}"
[admin]
password_hash = "{hash}"
allow = ["10.0.0.0/8"]
"""

LATIN = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=40)
"""Texts that a header or a decoded path may have after the server has parsed it."""

QUERY = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40)
"""Queries that the server accepts: it refuses other bytes in a target."""

PATHS = ["/", "/status", "/accept", "/logout", "/admin", "/admin/login", "/admin/logout",
         "/admin/kick", "/captive-portal/api", "/generate_204"]  # fmt: skip

FORM = st.dictionaries(
    st.sampled_from(["token", "method", "code", "user", "password", "to", "lang", "id"]) | LATIN,
    LATIN | st.sampled_from(["click", "voucher", "password", "zh"]),
    max_size=6,
)

EXPECTED = {200, 204, 302, 303, 400, 403, 404, 405, 413, 421, 429, 503, 508, 511}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    hashed = generate_password_hash("x", "pbkdf2:sha256:1")
    config = parse(CONFIG.replace("{hash}", hashed))
    store = open_store(f"sqlite:{tmp_path_factory.mktemp('hostile')}/portal.db")
    portal = Portal(config, store, secrets.token_bytes(32))
    yield test.Client(ByListener(portal))
    store.close()


@settings(deadline=None)
@given(
    port=st.sampled_from(["8080", "8081", "8443"]),
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE", "PROPFIND"]),
    path=st.sampled_from(PATHS) | LATIN.map(lambda text: f"/{text}"),
    query=QUERY | FORM.map(urlencode),
    host=st.sampled_from(["portal.example:8081", "captive.apple.com"]) | LATIN,
    headers=st.dictionaries(
        st.sampled_from(
            ["Accept", "Accept-Language", "User-Agent", "Cookie", "Content-Type",
             "Sec-Fetch-Site", "X-Forwarded-For", "Range", "If-None-Match", "Authorization"]
        ),
        LATIN | st.sampled_from(["text/html", "zh;q=2,en;q=x", "portal-admin=e30.e30.e30",
                                 "multipart/form-data; boundary=x", "bytes=0-"]),
        max_size=4,
    ),
    body=st.binary(max_size=100) | FORM.map(lambda form: urlencode(form).encode()),
    going=st.sampled_from([("198.18.0.1", 80), ("2001:db8:9::1", 8080), (None, 80)]),
    source=st.sampled_from(["10.1.2.3", "192.0.2.1", "2001:db8::7"]),
)  # fmt: skip
def test_any_request_is_answered(
    client, port, method, path, query, host, headers, body, going, source
):
    environ = {
        **origin_environ(*going, src=(source, 40000)),
        "PATH_INFO": path,  # not open(path), which takes a path in // for a host's name
        "SERVER_PORT": port,
        "HTTP_HOST": host,
        "QUERY_STRING": query,
    }
    answer = client.open(method=method, data=body, headers=headers, environ_overrides=environ)
    assert answer.status_code in EXPECTED
    for _, value in answer.headers:
        assert not set(value) & set("\r\n\0")
    where = answer.headers.get("Location", "/")
    assert where.startswith(("/", "http://portal.example:8081/"))
    assert not where.startswith("//")
    assert answer.headers["Content-Security-Policy"]
    if port == "8080":
        assert answer.headers["Connection"] == "close"


@pytest.mark.parametrize(
    ("port", "path", "status"),
    [
        ("8081", "//", 200),
        ("8081", "//status", 303),
        ("8081", "/status//", 404),
        ("8081", "/status/", 404),
        ("8081", "//admin", 200),
        ("8443", "/captive-portal//api", 404),
    ],
)
def test_no_spelling_of_a_path_gets_a_permanent_redirect(client, port, path, status):
    """A browser would keep it in its cache."""
    environ = {
        **origin_environ("10.0.0.1", int(port), src=("10.1.2.3", 40000)),
        "PATH_INFO": path,
        "SERVER_PORT": port,
        "HTTP_HOST": "portal.example:8081",
    }
    assert client.get(environ_overrides=environ).status_code == status


@pytest.mark.parametrize(
    "query", [b"\xb4", b"to=\xff\xfe", b"lang=%ff%00", b"%", b"&&==", b"to=%C3%A9"]
)
def test_a_query_of_any_bytes(portal, query):
    plain = query.isascii()
    for port, head, status in (
        (OWN, b"", b"200" if plain else b"400"),
        (REDIRECTED, b"PROXY TCP4 127.3.2.1 198.18.0.1 4000 80\r\n", b"302" if plain else b"400"),
    ):
        with socket.create_connection((portal.host, port), 20) as sock:
            host = f"Host: {portal.host}:{OWN if port == OWN else 80}\r\n".encode()
            sock.sendall(head + b"GET /?" + query + b" HTTP/1.1\r\n" + host)
            sock.sendall(b"Accept: text/html\r\nConnection: close\r\n\r\n")
            assert receive_until_closed(sock).startswith(b"HTTP/1.1 " + status)

# SPDX-License-Identifier: MIT
"""What answers and logs hold (demo_app/docs/portal.md, Security decisions), by real attacks.

Strict headers, no script, nothing that the client said, no redirect to where it says or in a loop.
"""

from __future__ import annotations

import base64
import hashlib
import re
import socket
from html.parser import HTMLParser

import pytest
from werkzeug.security import generate_password_hash

from tests.lab.streams import receive_until_closed

from .serving import OWN, REDIRECTED, PortalProcess

EVIL = "evil.example"


# strict headers


def every_answer(portal):
    """One answer of each kind, from both listeners."""
    guest = portal.visitor()
    yield "splash", guest.get("/")
    yield "no such page", guest.get("/nothing")
    yield "wrong method", guest.get("/accept")
    yield "another name", guest.get("/", Host=EVIL)
    yield "too large", guest.post("/accept", {"code": "x" * 20_000})
    yield "bad token", guest.post("/accept", {})
    yield "admin", guest.get("/admin")
    yield "redirect", guest.dial()
    yield "program", guest.dial(headers={})
    yield "loop", guest.dial((portal.host, OWN))
    yield "stranger", portal.visitor("127.200.0.9").dial()
    yield "accepted", guest.accept()
    yield "status", guest.get("/status")
    yield "wait", guest.dial()
    yield "probe", guest.dial(path="/generate_204", host="clients3.google.com")


def test_every_answer_has_strict_headers(doors):
    for name, answer in every_answer(doors):
        policy = dict(
            part.strip().split(" ", 1)
            for part in answer.headers["Content-Security-Policy"].split(";")
        )
        assert policy["default-src"] == "'none'", name
        assert policy["frame-ancestors"] == "'none'", name
        assert policy["base-uri"] == "'none'", name
        assert policy["form-action"] == "'self'", name
        assert "script-src" not in policy
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["Referrer-Policy"] == "no-referrer", name
        assert answer.headers["X-Content-Type-Options"] == "nosniff", name
        assert answer.headers["X-Frame-Options"] == "DENY", name
        assert answer.headers["Cache-Control"] == "no-store", name
        assert "Access-Control-Allow-Origin" not in answer.headers, name
        assert len(answer.headers.get_all("Content-Security-Policy")) == 1, name


def test_every_redirected_answer_closes_the_connection(doors):
    for name, answer in every_answer(doors):
        if name in ("redirect", "program", "loop", "stranger", "wait", "probe"):
            assert answer.headers["Connection"] == "close", name


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", b"511"),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", b"511"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", b"511"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
        (b"NONSENSE\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 100, b"400"),
    ],
)
def test_there_is_one_answer_on_a_redirected_connection(portal, request_, status):
    head = b"PROXY TCP4 127.3.2.1 198.18.0.1 4000 80\r\n"
    with socket.create_connection((portal.host, REDIRECTED), 20) as sock:
        sock.sendall(head + 3 * request_)
        data = receive_until_closed(sock)
    assert data.startswith(b"HTTP/1.1 " + status), data
    assert data.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in data.lower()


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_no_page_runs_or_fetches_anything(doors):
    pages = 0
    for name, answer in every_answer(doors):
        if "<head>" not in answer.text:
            continue
        pages += 1
        for tag, attributes in Page(answer.text).tags:
            assert tag not in ("script", "link", "img", "iframe", "object", "embed", "base"), name
            assert not [a for a in attributes if a.startswith("on") or a in ("style", "src")], name
            if tag == "form":
                assert attributes["action"].startswith("/"), name
        assert "javascript:" not in answer.text
        style = re.search(r"<style>(.*?)</style>", answer.text, re.DOTALL)[1]
        hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert f"style-src 'sha256-{hashed}'" in answer.headers["Content-Security-Policy"]
    assert pages >= 8


# the host header is never reflected, and nothing redirects where a client says

HOSTS = [
    EVIL,
    f"{EVIL}:8081",
    '"><script>alert(1)</script>',
    "x\ty",
    f"user@{EVIL}",
    "[::1",
    "%0d%0a",
]


@pytest.mark.parametrize("host", HOSTS)
def test_the_host_header_is_never_reflected(portal, host):
    visitor = portal.visitor()
    for answer in (
        visitor.get("/", Host=host),
        visitor.get("/", X_Forwarded_Host=host),
        visitor.get("/", Forwarded=f"host={host}"),
        visitor.dial(host=host, path="/evil-path"),
        visitor.dial(host=host, headers={}),
        visitor.dial(host=host, path="/generate_204"),
    ):
        whole = str(answer.headers) + answer.text
        assert EVIL not in whole
        assert "alert(1)" not in whole
        assert "evil-path" not in whole
        if answer.location:
            assert answer.location.startswith((portal.url + "/", "/"))


def test_another_name_for_the_portal_gets_no_form(portal):
    # DNS rebinding needs a page with a token at a name of the attacker's.
    own = f"{portal.host}:{OWN}"
    for host in (EVIL, f"{own}/", f"{own}/{EVIL}", f"x@{own}", f"{own}?", f"{own}#", portal.host):
        answer = portal.visitor().get("/", Host=host)
        assert answer.status in (400, 421), host
        assert "token" not in answer.text


TARGETS = ["http://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)",
           "http:evil.example", "\r\nSet-Cookie: a=b", "x" * 3000, '"><b>']  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_redirects_to_what_a_query_or_a_form_says(portal, target):
    visitor = portal.visitor()
    token = visitor.get("/").field("token", "/accept")
    page = visitor.get("/?to=" + target.encode().hex())
    assert page.status == 200
    form = {"token": token, "method": "click", "to": target, "lang": target, "next": target}
    accepted = visitor.post("/accept", form)
    assert accepted.location == "/status"
    status = visitor.follow(accepted)
    assert 'id="continue"' not in status.text
    assert EVIL not in status.text
    logout = {"token": status.field("token", "/logout"), "lang": target, "to": target}
    assert visitor.post("/logout", logout).location == "/"


def test_a_destination_is_worth_nothing_in_another_clients_browser(portal):
    attacker, victim = portal.visitor(), portal.visitor()
    link = attacker.dial(("203.0.113.66", 80), host=EVIL).location.removeprefix(portal.url)
    assert EVIL in attacker.get(link).text
    page = victim.get(link)
    assert page.status == 200
    assert EVIL not in page.text
    assert "203.0.113.66" not in page.text


# loop refusal


def test_the_portals_own_address_behind_its_own_redirect_is_refused(tmp_path):
    with PortalProcess(tmp_path, portal=f'own = ["203.0.113.7", "203.0.113.8:{OWN}"]') as portal:
        visitor = portal.visitor()
        for destination in (
            (portal.host, OWN),
            ("127.0.0.1", OWN),  # any local address, with one of the portal's ports
            ("127.0.0.1", REDIRECTED),
            ("203.0.113.7", OWN),
            ("203.0.113.8", OWN),
        ):
            answer = visitor.dial(destination)
            assert answer.status == 508, destination
            assert answer.location == ""
        own_name = portal.url.removeprefix("http://")
        assert visitor.dial(("198.18.0.1", 80), host=own_name).status == 508
        assert visitor.dial(("198.18.0.1", 80), host=own_name.upper()).status == 508
        # A page of the router itself, which people open by its address, is no loop.
        for destination in (("127.0.0.1", 80), ("203.0.113.7", 80), ("203.0.113.8", 80)):
            assert visitor.dial(destination).status == 302


# no client data in logs


def test_logs_hold_no_client_data_unless_configured(tmp_path):
    theme = tmp_path / "theme"
    theme.mkdir()
    (theme / "login.html").write_text("{{ nothing.at_all }}")
    admin = (
        f'[admin]\npassword_hash = "{generate_password_hash("x")}"\nallow = ["127.0.0.0/8"]\n'
        "[log]\nlevel = 'debug'\n{log}"
    )
    for log, named in (("", False), ("access = true\nclients = true\n", True)):
        folder = tmp_path / f"named-{named}"
        folder.mkdir()
        with PortalProcess(
            folder,
            portal=f'theme = "{theme}"',
            methods='["click", "voucher"]',
            extra=admin.replace("{log}", log),
        ) as portal:
            visitor = portal.visitor("127.77.66.55")
            code = portal.run("vouchers", "create", "1").strip()
            visitor.dial(("198.18.77.77", 80), "/secret-path?q=secret-query", host="secret.example")
            visitor.dial(path="/%ff%00%0a", host="secret.example")
            assert visitor.get("/admin?q=secret-query").status == 500
            visitor.get("/secret-path", Host="secret.example")
            visitor.accept("voucher", code="SECRE-TCODE")
            visitor.accept("voucher", code=code)
            visitor.log_out()
            log_text = portal.log
        assert "accepted by voucher in guests" in log_text
        assert "unexpected error" in log_text
        data = ("127.77.66.55", "198.18.77.77", "secret-path", "secret-query", "secret.example")
        found = {word for word in data if word in log_text}
        assert "SECRE" not in log_text
        assert code not in log_text
        if named:
            assert {"127.77.66.55", "198.18.77.77", "secret-path"} <= found
        else:
            assert found == set()

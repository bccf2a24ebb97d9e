# SPDX-License-Identifier: MIT
"""The portal's security decisions (demo_app/docs/portal.md), each by attacks over real sockets."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
from html.parser import HTMLParser

import pytest
from ctwsgi_portal.config import load
from ctwsgi_portal.state.codes import ALPHABET, digest, new_code, normal_code
from ctwsgi_portal.state.secret import SecretError, read_secret
from ctwsgi_portal.web.accept import PER_CLIENT, PER_USER
from ctwsgi_portal.web.portal import Portal
from ctwsgi_portal.web.security import TOKEN_AGE, Tokens
from itsdangerous import TimestampSigner, URLSafeTimedSerializer
from werkzeug.security import generate_password_hash

from tests.lab.streams import receive_until_closed

from .serving import BROWSER, OWN, REDIRECTED, PortalProcess

EVIL = "evil.example"


@pytest.fixture(scope="module")
def doors(tmp_path_factory):
    """A portal with all three methods and an admin page."""
    users = f'[users]\nalice = "{generate_password_hash("correct horse")}"\n'
    admin = (
        f'[admin]\npassword_hash = "{generate_password_hash("operator")}"\n'
        'allow = ["127.0.0.0/8"]\n'
    )
    with PortalProcess(
        tmp_path_factory.mktemp("doors"),
        methods='["click", "voucher", "password"]',
        extra=users + admin,
    ) as running:
        yield running


def inside(portal):
    """A Portal with the configuration and secret of the process, to make tokens as it does."""
    config = load(portal.config)
    return Portal(config, portal.store(), read_secret(config.portal.secret_file))


# vouchers are random and rate-limited


def test_voucher_codes_are_random():
    codes = [new_code() for _ in range(5000)]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(f"[{ALPHABET}]{{5}}-[{ALPHABET}]{{5}}", code) for code in codes)
    # Each letter is expected 5000/32 = 156 times in each place. The limits are six standard
    # deviations (12.3) away.
    for place in range(5):
        counts = [sum(code[place] == letter for code in codes) for letter in ALPHABET]
        assert min(counts) > 80
        assert max(counts) < 233


@pytest.mark.parametrize(
    "typed", ["ABCDE-01JKM", "abcde01jkm", " abcde o1jkm", "ABCDE-OIJKM", "abcdeoljkm"]
)
def test_a_code_may_be_typed_in_many_ways(typed):
    assert normal_code(typed) == "ABCDE01JKM"


@pytest.mark.parametrize(
    "typed", ["", "ABCDE-01JK", "ABCDE-01JKMN", "ABCDE-01JKU", "ABCDE-01JK\0", "ÀBCDE-01JKM"]
)
def test_what_cannot_be_a_code(typed):
    assert normal_code(typed) is None


def test_codes_are_stored_nowhere(doors):
    code = doors.run("vouchers", "create", "1").strip()
    for file in doors.folder.iterdir():
        data = file.read_bytes()
        assert code.encode() not in data
        assert code.replace("-", "").encode() not in data
    # The stored digest depends on the secret.
    stored = doors.store().vouchers()[-1].digest
    assert stored == digest(read_secret(str(doors.folder / "secret")), code)
    assert stored != hashlib.sha256(normal_code(code).encode()).hexdigest()
    assert stored != digest(b"another secret!!", code)


def test_voucher_attempts_are_limited_by_client(doors):
    code = doors.run("vouchers", "create", "1").strip()
    guesser = doors.visitor()
    page = guesser.get("/")
    for _ in range(PER_CLIENT):
        answer = guesser.accept("voucher", page, code=new_code())
        assert answer.status == 403
    late = guesser.accept("voucher", page, code=code)
    assert late.status == 429
    assert "ten minutes" in late.text
    assert doors.visitor().accept("voucher", code=code).status == 303


@pytest.mark.parametrize("code", ["", "x", "' OR 1=1 --", "0" * 40, "\0" * 10, "文" * 10])
def test_nonsense_is_no_voucher(doors, code):
    answer = doors.visitor().accept("voucher", code=code)
    assert answer.status == 403
    assert "not valid" in answer.text


def test_one_voucher_one_device(doors):
    code = doors.run("vouchers", "create", "1", "--lifetime", "1h").strip()
    first, second = doors.visitor(), doors.visitor()
    assert first.accept("voucher", code=code.lower()).status == 303
    session = doors.store().covering("guests", first.address)
    assert session.grant.method == "voucher"
    assert second.accept("voucher", code=code).status == 403
    # Its lifetime goes on while the device is away.
    first.log_out()
    assert first.accept("voucher", code=code).status == 303
    again = doors.store().covering("guests", first.address)
    assert again.grant.expires_at == session.grant.expires_at


# passwords


def test_a_password_lets_in_a_wrong_one_does_not(doors):
    visitor = doors.visitor()
    for user, password in (("alice", "wrong"), ("bob", "correct horse"), ("", ""), ("alice", "")):
        answer = visitor.accept("password", user=user, password=password)
        assert answer.status == 403
        assert "not right" in answer.text
    assert visitor.accept("password", user="alice", password="correct horse").status == 303
    assert doors.store().covering("guests", visitor.address).grant.who == "alice"


def test_attempts_at_one_user_are_limited_from_wherever_they_come(tmp_path):
    users = f'[users]\ncarol = "{generate_password_hash("x", "pbkdf2:sha256:1")}"\n'
    with PortalProcess(tmp_path, methods='["password"]', extra=users) as portal:
        guess = {"user": "carol", "password": "y"}
        statuses = [
            portal.visitor().accept("password", **guess).status for _ in range(PER_USER + 1)
        ]
        assert statuses == [403] * PER_USER + [429]
        assert portal.visitor().accept("password", user="dave", password="y").status == 403


def test_a_method_that_is_not_offered_is_refused(portal):
    visitor = portal.visitor()
    token = visitor.get("/").field("token", "/accept")
    for method in ("voucher", "password", "", "radius", "click "):
        answer = visitor.post("/accept", {"token": token, "method": method, "code": new_code()})
        assert answer.status == 400
    assert portal.store().covering("guests", visitor.address) is None


# sessions are bound to the connection's real source; ct.* cannot be spoofed

SPOOFED = [
    "X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP", "True-Client-IP", "Client-IP",
    "CF-Connecting-IP", "REMOTE-ADDR", "REMOTE_ADDR", "ct.orig_src", "ct.orig_dst", "ct.origin",
    "ct.verified", "ct_orig_src", "Ct-Orig-Src", "HTTP_CT.ORIG_SRC",
]  # fmt: skip


@pytest.mark.parametrize("name", SPOOFED)
def test_no_header_makes_a_client_another(portal, name):
    accepted, other = portal.visitor(), portal.visitor()
    accepted.accept()
    values = (accepted.address, f"for={accepted.address}", f"('{accepted.address}', 4000)")
    for value in values:
        spoof = {**BROWSER, name: value}
        assert other.dial(headers=spoof).status == 302
        assert other.request("GET", "/", None, **{name: value}).status == 200
        assert other.request("GET", "/status", None, **{name: value}).location == "/"


@pytest.mark.parametrize("name", SPOOFED)
def test_no_header_changes_the_destination(portal, name):
    visitor = portal.visitor()
    spoof = {**BROWSER, name: "('203.0.113.66', 80)"}
    splash = visitor.follow(visitor.dial(("198.18.5.5", 80), headers=spoof))
    assert "198.18.5.5:80" in splash.text
    assert "203.0.113.66" not in splash.text


def test_a_client_that_dials_the_redirected_listener_writes_no_origin(tmp_path):
    with PortalProcess(tmp_path) as portal:
        text = portal.config.read_text().replace("127.0.0.0/8", "127.0.0.99/32")
    portal.config.write_text(text)
    head = b"PROXY TCP4 127.3.2.1 198.18.0.1 4000 80\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with portal:
        for source, answered in (("127.0.0.98", False), ("127.0.0.99", True)):
            where = (portal.host, REDIRECTED)
            with socket.create_connection(where, 20, source_address=(source, 0)) as sock:
                try:
                    sock.sendall(head)
                    data = receive_until_closed(sock)
                except (ConnectionResetError, BrokenPipeError):
                    data = b""
            assert data.startswith(b"HTTP/1.1 511 ") is answered, data


def test_without_a_header_nothing_is_answered_there(portal):
    with socket.create_connection((portal.host, REDIRECTED), 20) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert receive_until_closed(sock) == b""


def test_who_is_in_no_network_gets_nothing(portal):
    stranger = portal.visitor("127.200.3.4")
    assert stranger.get("/").status == 403
    assert stranger.dial().status == 403
    assert stranger.dial(path="/generate_204", host="clients3.google.com").status == 403


# CSRF


def forms(doors):
    """Every form by its purpose: (visitor, path, fields without the token)."""
    guest = doors.visitor()
    guest.accept()
    operator = doors.visitor()
    token = operator.get("/admin").field("token", "/admin/login")
    login = {"token": token, "user": "admin", "password": "operator"}
    assert operator.post("/admin/login", login).status == 303
    fresh = doors.visitor()
    return {
        "accept": (fresh, "/accept", {"method": "click"}),
        "logout": (guest, "/logout", {}),
        "admin login": (fresh, "/admin/login", {"user": "admin", "password": "operator"}),
        "admin logout": (operator, "/admin/logout", {}),
        "admin kick": (operator, "/admin/kick", {"id": "x"}),
    }


def test_every_form_of_the_pages_is_in_the_list_above(doors):
    guest = doors.visitor()
    pages = [guest.get("/").text, guest.get("/admin").text]
    guest.accept()
    pages.append(guest.get("/status").text)
    actions = set(re.findall(r'<form method="post" action="([^"]*)"', "".join(pages)))
    assert actions == {"/accept", "/logout", "/admin/login"}
    assert len(re.findall(r"<form", "".join(pages))) == sum(
        page.count('name="token" value="') for page in pages
    )


@pytest.mark.parametrize("name", ["accept", "logout", "admin login", "admin logout", "admin kick"])
def test_a_form_without_its_own_token_does_nothing(doors, name):
    who, path, fields = forms(doors)[name]
    tokens = Tokens(inside(doors))
    purpose = {"admin logout": "admin", "admin kick": "admin"}.get(name, name)
    other = doors.visitor()
    good = tokens.make(purpose, who.address)
    bad = [
        None,
        "",
        "x",
        good[:3] + ("A" if good[3] != "A" else "B") + good[4:],
        good[:-9] + ("A" if good[-9] != "A" else "B") + good[-8:],
        tokens.make("another purpose", who.address),
        tokens.make(purpose, other.address),
        expired(doors, purpose, who.address),
    ]
    before = doors.store().snapshot().sessions
    for token in bad:
        given = {**fields, **({} if token is None else {"token": token})}
        answer = who.post(path, given)
        assert answer.status == 400, (name, token)
    assert doors.store().snapshot().sessions == before


def expired(portal, purpose, bearer):
    """A token that Tokens made a little more than TOKEN_AGE ago."""

    class Old(TimestampSigner):
        def get_timestamp(self):
            return super().get_timestamp() - TOKEN_AGE - 60

    key = inside(portal).derived("form")
    made = URLSafeTimedSerializer(
        key, salt="form", signer=Old, signer_kwargs={"digest_method": hashlib.sha256}
    )
    token = made.dumps([purpose, bearer])
    assert made.loads(token) == [purpose, bearer]
    return token


def test_an_open_form_stays_good_for_a_while(doors):
    visitor = doors.visitor()
    page = visitor.get("/")
    assert visitor.post("/accept", {"token": "x", "method": "click"}).status == 400
    assert visitor.accept(page=page).status == 303


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_form_that_another_site_sends_is_refused(doors, site):
    visitor = doors.visitor()
    form = {"token": visitor.get("/").field("token", "/accept"), "method": "click"}
    assert visitor.post("/accept", form, Sec_Fetch_Site=site).status == 403
    assert visitor.post("/accept", form, Sec_Fetch_Site="same-origin").status == 303


@pytest.mark.parametrize("path", ["/accept", "/logout", "/admin/login", "/admin/kick"])
def test_nothing_changes_by_get(doors, path):
    assert doors.visitor().get(path).status == 405


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


# the secret


@pytest.mark.parametrize(
    ("mode", "text", "why"),
    [(0o644, "x" * 40, "chmod 600"), (0o600, "short", "shorter"), (None, "", "init makes one")],
)
def test_a_secret_that_others_know_is_refused(tmp_path, mode, text, why):
    path = tmp_path / "secret"
    if mode is not None:
        path.write_text(text)
        path.chmod(mode)
    with pytest.raises(SecretError, match=why):
        read_secret(str(path))

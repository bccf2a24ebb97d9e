# SPDX-License-Identifier: MIT
"""Who gets in and who may act (demo_app/docs/portal.md, Security decisions), by real attacks.

Guessed codes and passwords, spoofed addresses, forged forms, secrets that others know.
"""

from __future__ import annotations

import hashlib
import re
import socket

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

from .serving import BROWSER, REDIRECTED, PortalProcess


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

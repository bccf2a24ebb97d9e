# SPDX-License-Identifier: MIT
"""The operator's page: the addresses that get it, its contents, and that it is read-only."""

from __future__ import annotations

import re
import time

import pytest
from ctwsgi_portal.state.records import Grant, new_id
from ctwsgi_portal.web.admin import PER_CLIENT
from werkzeug.security import generate_password_hash

from tests.lab.wait import until

from .serving import PortalProcess
from .stores import report

ADMIN = (
    f'[admin]\npassword_hash = "{generate_password_hash("operator")}"\nallow = ["127.0.0.0/9"]\n'
)


@pytest.fixture(scope="module")
def portal(tmp_path_factory):
    with PortalProcess(tmp_path_factory.mktemp("admin"), extra=ADMIN) as running:
        yield running


def log_in(portal, password="operator", user="admin"):
    operator = portal.visitor()
    token = operator.get("/admin").field("token", "/admin/login")
    form = {"token": token, "user": user, "password": password}
    return operator, operator.post("/admin/login", form)


def test_without_the_table_there_is_no_such_page(tmp_path):
    with PortalProcess(tmp_path) as portal:
        assert portal.visitor().get("/admin").status == 404


def test_only_the_allowed_networks_see_it(portal):
    assert portal.visitor("127.1.2.3").get("/admin").status == 200
    # This address is in no network of clients: an operator need not be a client.
    assert portal.visitor("127.200.2.3").get("/admin").status == 404
    assert portal.visitor("127.200.2.3").post("/admin/login", {}).status == 404


@pytest.mark.parametrize(
    ("user", "password"), [("admin", "wrong"), ("root", "operator"), ("", ""), ("admin", "")]
)
def test_a_wrong_login(portal, user, password):
    operator, answer = log_in(portal, password, user)
    assert answer.status == 403
    assert "not right" in answer.text
    assert operator.cookies == {}
    assert "/admin/logout" not in operator.get("/admin").text


def test_login_attempts_are_limited(portal):
    operator = portal.visitor()
    token = operator.get("/admin").field("token", "/admin/login")
    form = {"token": token, "user": "admin", "password": "wrong"}
    for _ in range(PER_CLIENT):
        assert operator.post("/admin/login", form).status == 403
    assert operator.post("/admin/login", {**form, "password": "operator"}).status == 429


def test_the_cookie_is_for_this_page_and_no_script(portal):
    _, answer = log_in(portal)
    assert answer.status == 303
    cookie = answer.headers["Set-Cookie"]
    assert "; HttpOnly" in cookie
    assert "; Path=/admin" in cookie
    assert "; SameSite=Strict" in cookie
    assert "Secure" not in cookie  # over http it could not be sent back


def test_over_https_the_cookie_stays_there(tmp_path):
    with PortalProcess(tmp_path, tls=True, extra=ADMIN) as portal:
        _, answer = log_in(portal)
        assert "; Secure" in answer.headers["Set-Cookie"]


def test_a_forged_cookie_is_no_login(portal):
    operator, _ = log_in(portal)
    good = operator.cookies["portal-admin"]
    for cookie in ("x", good[:-5], good[:9] + "A" + good[10:], "e30.e30.e30"):
        operator.cookies["portal-admin"] = cookie
        assert "/admin/login" in operator.get("/admin").text
        assert operator.post("/admin/kick", {"id": "x"}).status == 403
        operator.cookies["portal-admin"] = good
    assert "/admin/logout" in operator.get("/admin").text


def test_logging_out(portal):
    operator, _ = log_in(portal)
    token = operator.get("/admin").field("token", "/admin/logout")
    assert operator.post("/admin/logout", {"token": token}).location == "/admin"
    assert "/admin/login" in operator.get("/admin").text


def test_what_it_shows(portal):
    store = portal.store()
    store.heartbeat("gateway-7")
    now = time.time()
    guest = portal.visitor("127.5.5.5")
    store.grant(
        Grant(
            new_id(), "guests", guest.address, None, now, now + 7300, None, "voucher", "<b>R&D</b>"
        )
    )
    grant = store.covering("guests", guest.address).grant
    report(store, grant.id, "gw", "02:00:00:00:00:aa", ["2001:db8:20::77"], 1_500_000)
    store.count_destinations({"198.18.9.9:80": 31_337})
    operator, _ = log_in(portal)
    page = operator.get("/admin").text
    for word in ("127.5.5.5", "2001:db8:20::77", "02:00:00:00:00:aa", "1.5 MB", "2 h 1 min",
                 "198.18.9.9:80", "31337", "gateway-7"):  # fmt: skip
        assert word in page, word
    assert "&lt;b&gt;R&amp;D&lt;/b&gt;" in page
    assert "<b>" not in page
    bars = re.findall(r"<rect [^>]*><title>[^<]*: (\d+)</title>", page)
    assert len(bars) == 48
    assert sum(map(int, bars)) == sum(n for _, n in store.history(now - 48 * 3600))
    assert int(bars[-1]) + int(bars[-2]) >= 1


def test_it_only_shows(portal):
    guest = portal.visitor()
    guest.accept()
    session = portal.store().covering("guests", guest.address)
    operator, _ = log_in(portal)
    page = operator.get("/admin")
    assert "/admin/kick" not in page.text
    assert "kick = true" in page.text
    form = {"token": page.field("token", "/admin/logout"), "id": session.grant.id}
    assert operator.post("/admin/kick", form).status == 403
    assert portal.store().covering("guests", guest.address) == session


def test_with_kick_it_ends_a_session(tmp_path):
    with PortalProcess(tmp_path, extra=f"{ADMIN}kick = true\n") as portal:
        guest = portal.visitor()
        guest.accept()
        operator, _ = log_in(portal)
        page = operator.get("/admin")
        form = {name: page.field(name, "/admin/kick") for name in ("token", "id")}
        assert operator.post("/admin/kick", form).location == "/admin"
        assert portal.store().covering("guests", guest.address) is None
        assert portal.store().ended(1)[0].reason == "kicked"
        assert guest.get("/").status == 200


def test_another_password_ends_all_logins(tmp_path):
    portal = PortalProcess(tmp_path, extra=ADMIN)
    with portal:
        operator, _ = log_in(portal)
        assert "/admin/logout" in operator.get("/admin").text
    other = generate_password_hash("another")
    text = re.sub(r'password_hash = ".*"', f'password_hash = "{other}"', portal.config.read_text())
    portal.config.write_text(text)
    with portal:
        assert "/admin/login" in operator.get("/admin").text


def test_a_login_ends_with_its_time(tmp_path):
    with PortalProcess(tmp_path, extra=f'{ADMIN}session = "1s"\n') as portal:
        operator, _ = log_in(portal)
        until(lambda: "/admin/logout" not in operator.get("/admin").text, "the end of the login")

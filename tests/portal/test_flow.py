# SPDX-License-Identifier: MIT
"""The whole flow at the portal: redirected, splash page, accepted, link to go on, logged out."""

from __future__ import annotations

import time

import pytest
from ctwsgi_portal.state.records import Grant, new_id
from ctwsgi_portal.web.destinations import MOST, Destinations

from tests.lab.wait import until

from .serving import OWN, PortalProcess, Visitor, fresh_client
from .stores import report


def test_click_through_from_any_page_and_back(portal):
    visitor = portal.visitor()
    redirected = visitor.dial(("198.18.3.4", 80), "/a/b?c=d", host="news.example")
    assert redirected.status == 302
    assert redirected.location.startswith(portal.url + "/?to=")

    splash = visitor.follow(redirected)
    assert splash.status == 200
    assert "198.18.3.4:80" in splash.text
    assert "news.example" in splash.text
    assert "Be kind &amp; fair." in splash.text

    accepted = visitor.accept(page=splash)
    assert accepted.status == 303
    status = visitor.follow(accepted)
    assert 'href="http://news.example/"' in status.text
    assert "1 h 59 min" in status.text
    session = portal.store().covering("guests", visitor.address)
    assert session is not None
    assert (session.grant.method, session.grant.limit_bytes) == ("click", None)
    assert session.grant.expires_at - session.grant.granted_at == 7200

    assert visitor.log_out().location == "/"
    assert portal.store().covering("guests", visitor.address) is None
    assert portal.store().ended(1)[0].reason == "logout"
    assert visitor.dial(host="news.example").status == 302


def test_with_each_store(store_url, tmp_path):
    with PortalProcess(tmp_path, store=store_url, methods='["click", "voucher"]') as portal:
        visitor = portal.visitor()
        code = portal.run("vouchers", "create", "1", "--limit", "1MB").strip()
        splash = visitor.follow(visitor.dial(host="news.example"))
        status = visitor.follow(visitor.accept("voucher", splash, code=code))
        assert "news.example" in status.text
        assert "1 MB" in status.text
        store = portal.store()
        grant = store.covering("guests", visitor.address).grant
        assert report(store, grant.id, "gw", None, (), 400_000)
        assert "600 KB" in visitor.get("/status").text
        assert grant.id[:12] in portal.run("sessions", "list")
        visitor.log_out()
        assert visitor.dial().status == 302
        store.close()


def test_an_accepted_client_sees_its_status_not_the_splash_page(portal):
    visitor = portal.visitor()
    visitor.accept()
    assert visitor.get("/").location == "/status"


def test_a_client_that_is_not_accepted_has_no_status(portal):
    assert portal.visitor().get("/status").location == "/"


def test_a_session_belongs_to_the_address(portal):
    one, other = portal.visitor(), portal.visitor()
    one.accept()
    assert other.get("/").status == 200
    assert other.dial().status == 302
    again = Visitor(portal, one.address)  # another browser of the device, without a cookie
    assert again.get("/").location == "/status"


def test_further_addresses_of_a_device_count_once_an_agent_reports_them(portal):
    visitor, second = portal.visitor(), portal.visitor()
    visitor.accept()
    store = portal.store()
    grant = store.covering("guests", visitor.address).grant
    report(store, grant.id, "gw", "02:00:00:00:00:01", [second.address], 12_345_678)
    assert second.get("/").location == "/status"
    assert "12.3 MB" in second.get("/status").text
    assert second.log_out().location == "/"
    assert visitor.get("/").status == 200


def test_a_browser_whose_gateway_lags_is_asked_to_wait_where_it_is(portal):
    visitor = portal.visitor()
    visitor.accept()
    answer = visitor.dial(path="/deep", host="news.example")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert (
        '<meta http-equiv="refresh" content="1">' in answer.text
    )  # it reloads itself, without a URL
    assert "news.example" not in answer.text
    assert visitor.dial(headers={"Accept": "*/*"}).status == 503


@pytest.mark.parametrize("host", ["198.18.3.4", "www.example.com", "a-b.example.co.uk"])
def test_the_destination_is_shown_whatever_the_language(portal, host):
    visitor = portal.visitor()
    where = visitor.dial(("198.18.3.4", 8000), host=f"{host}:8000").location
    page = visitor.get(where.removeprefix(portal.url) + "&lang=zh")
    assert 'lang="zh-Hans"' in page.text
    assert "198.18.3.4:8000" in page.text
    accepted = visitor.accept(page=page)
    status = visitor.follow(accepted)
    assert f'href="http://{host}:8000/"' in status.text
    assert 'lang="zh-Hans"' in status.text


def test_over_ipv6(portal):
    visitor = portal.visitor("2001:db8:20::5")
    answer = visitor.dial(("2001:db8::99", 80))
    assert (answer.status, answer.location.startswith(portal.url)) == (302, True)
    store = portal.store()
    now = time.time()
    store.grant(Grant(new_id(), "guests", visitor.address, None, now, now + 60, None, "click"))
    assert visitor.dial(("2001:db8::99", 80)).status == 503


def test_each_ip_version_has_its_url(tmp_path):
    url6 = f"http://[2001:db8:20::1]:{OWN}"
    with PortalProcess(tmp_path, portal=f'url6 = "{url6}"') as portal:
        old, new = portal.visitor(), portal.visitor("2001:db8:20::5")
        assert old.dial(("198.18.0.1", 80)).location.startswith(f"{portal.url}/?to=")
        assert new.dial(("2001:db8::99", 80)).location.startswith(f"{url6}/?to=")
        assert f"{url6}/" in new.dial(("2001:db8::99", 80), headers={}).text
        assert new.dial(("2001:db8:20::1", OWN)).status == 508
        for host, status in (
            (f"[2001:db8:20::1]:{OWN}", 200),
            (f"[2001:DB8:20:0::1]:{OWN}", 421),  # no browser spells it like this
            (f"[2001:db8:20::2]:{OWN}", 421),
            ("[2001:db8:20::1]", 421),  # another port
        ):
            assert old.get("/", Host=host).status == status, host


def test_a_form_that_is_sent_twice_leaves_one_session(portal):
    visitor = portal.visitor()
    page = visitor.get("/")
    visitor.accept(page=page)
    visitor.accept(page=page)
    sessions = [s for s in portal.store().snapshot().sessions if s.grant.address == visitor.address]
    assert len(sessions) == 1


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    settings = 'limit = "5MB"\ngrants_per_day = 2\nextend = false'
    with PortalProcess(
        tmp_path_factory.mktemp("strict"), access=settings, portal="continue_after = 3"
    ) as running:
        yield running


def test_a_session_ends_by_data(strict):
    visitor = strict.visitor()
    visitor.accept()
    store = strict.store()
    grant = store.covering("guests", visitor.address).grant
    assert grant.limit_bytes == 5_000_000
    assert report(store, grant.id, "gw", None, (), 4_000_000)
    assert "1 MB" in visitor.get("/status").text
    assert not report(store, grant.id, "gw", None, (), 1_000_000)
    assert visitor.get("/").status == 200
    assert store.ended(1)[0].reason == "data"


def test_a_session_ends_by_time(strict):
    visitor, now = strict.visitor(), time.time()
    grant = Grant(new_id(), "guests", visitor.address, None, now, now + 1, None, "click")
    strict.store().grant(grant)
    page = visitor.get("/")
    assert page.location == "/status" or time.time() > grant.expires_at
    until(lambda: visitor.get("/").status == 200, "the splash page")
    assert strict.store().ended(1)[0].reason == "time"


def test_without_extend_a_session_cannot_be_started_anew(strict):
    visitor = strict.visitor()
    page = visitor.get("/")
    visitor.accept(page=page)
    first = strict.store().covering("guests", visitor.address)
    assert "<details>" not in visitor.get("/status").text
    assert visitor.accept(page=page).location.startswith("/status")
    assert strict.store().covering("guests", visitor.address) == first


def test_an_address_is_accepted_so_often_a_day(strict):
    visitor = strict.visitor()
    for _ in range(2):
        assert visitor.accept().status == 303
        visitor.log_out()
    refused = visitor.accept()
    assert refused.status == 429
    assert "tomorrow" in refused.text
    assert strict.store().covering("guests", visitor.address) is None


def test_the_status_page_can_go_on_by_itself(strict):
    visitor = strict.visitor()
    splash = visitor.follow(visitor.dial(host="news.example"))
    status = visitor.follow(visitor.accept(page=splash))
    assert '<meta http-equiv="refresh" content="3;url=http://news.example/">' in status.text


def test_destinations_are_counted_without_the_client(portal):
    visitor, program = portal.visitor(fresh_client()), {"Accept": "*/*"}
    for i in range(3):
        visitor.dial((f"198.19.0.{i}", 80), headers=program)

    def counted():
        visitor.dial(("198.19.0.9", 80), headers=program)  # this request writes the counts
        return dict(portal.store().destinations(0, 5000)).get("198.19.0.2:80")

    assert until(counted, "the counts") == 1
    assert visitor.address not in repr(portal.store().destinations(0, 5000))


def test_many_destinations_do_not_wait_for_long():
    store = Counted()
    destinations = Destinations(store, retention=1)
    for i in range(2 * MOST):
        destinations.count(str(i))
    assert [len(c) for c in store.counted] == [MOST, MOST]
    nothing = Destinations(store, retention=0)
    for i in range(2 * MOST):
        nothing.count(str(i))
    assert len(store.counted) == 2


class Counted:
    """The part of a store that Destinations uses."""

    def __init__(self):
        self.counted = []

    def count_destinations(self, counts):
        self.counted.append(dict(counts))

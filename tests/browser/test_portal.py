# SPDX-License-Identifier: MIT
"""The whole flow with a real browser: captive, accepted, arrived, logged out, captive again.

`make test` has the portal's URL with an IPv4 address; over IPv6 it is the same flow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

pytest.importorskip("playwright", reason="no playwright: tests/setup test installs it")

from playwright.sync_api import Browser, Page, expect

from tests.lab import Lab
from tests.lab.portal import INTERNET, PASSWORD, PortalLab
from tests.lab.requirements import unavailable
from tests.lab.wait import DEADLINE, until

from .browser import browser, missing

pytestmark = pytest.mark.skipif(
    bool(unavailable() or missing()), reason=str(unavailable() or missing())
)

# Playwright's own 5 s are too short on a busy machine.
expect.set_options(timeout=1000 * DEADLINE)

METHODS = ("click", "voucher", "password")
ELSEWHERE = {4: "http://198.18.55.66/", 6: "http://[2001:db8:55::66]/"}


@pytest.fixture(
    scope="module",
    params=[pytest.param(4, id="IPv4"), pytest.param(6, id="IPv6", marks=pytest.mark.full)],
)
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def portal(version: int) -> Iterator[PortalLab]:
    with Lab() as lab:
        made = PortalLab(lab, version=version, methods=METHODS)
        made.start()
        yield made


@pytest.fixture(scope="module")
def chromium(portal: PortalLab) -> Iterator[Browser]:
    with browser(portal.lab) as started:
        yield started


@pytest.fixture
def page(portal: PortalLab, chromium: Browser) -> Iterator[Page]:
    """A page of a client without a grant."""
    portal.run("sessions", "kick", "--all")
    until(lambda: not portal.reaches_internet(), "captivity")
    context = chromium.new_context(locale="en-GB")
    context.set_default_timeout(1000 * DEADLINE)
    opened = context.new_page()
    yield opened
    context.close()


def open_nowhere(page: Page, portal: PortalLab, where: str) -> None:
    """Opens an address that exists nowhere, and lands on the splash page."""
    page.goto(where)
    expect(page).to_have_url(re.compile(re.escape(portal.url) + r"/\?to="))
    expect(page.get_by_text("Be kind to each other.")).to_be_visible()


def accept(page: Page, portal: PortalLab, method: str) -> None:
    """Sends the form of the method."""
    form = page.locator(f"form:has(input[name=method][value={method}])")
    if method == "voucher":
        form.locator("[name=code]").fill(portal.voucher().lower())
    if method == "password":
        form.locator("[name=user]").fill("alice")
        form.locator("[name=password]").fill(PASSWORD)
    form.locator("button").click()


def url_of(version: int) -> str:
    return f"http://{INTERNET[version]}/" if version == 4 else f"http://[{INTERNET[version]}]/"


@pytest.mark.parametrize("method", METHODS)
def test_the_whole_way(page: Page, portal: PortalLab, version: int, method: str) -> None:
    where = url_of(version)
    open_nowhere(page, portal, where)
    expect(page.get_by_text(INTERNET[version])).to_be_visible()
    accept(page, portal, method)
    expect(page).to_have_url(re.compile(re.escape(portal.url) + "/status"))
    page.locator("#continue").click()
    # The gateway may learn of it later than the browser, which then shows a page that reloads
    # itself.
    expect(page.get_by_text(f"the internet, {INTERNET[version]} port 80")).to_be_visible()
    expect(page).to_have_url(where)
    page.goto(ELSEWHERE[version])
    expect(page.get_by_text("the internet, ")).to_be_visible()

    page.goto(f"{portal.url}/status")
    page.locator("form[action='/logout'] button").click()
    expect(page).to_have_url(re.compile(re.escape(portal.url) + r"/(\?.*)?$"))
    until(lambda: not portal.reaches_internet(version), "captivity")
    open_nowhere(page, portal, where)


def test_one_acceptance_is_for_both_versions(page: Page, portal: PortalLab, version: int) -> None:
    open_nowhere(page, portal, url_of(version))
    accept(page, portal, "click")
    page.locator("#continue").click()
    expect(page.get_by_text("the internet, ")).to_be_visible()
    page.goto(ELSEWHERE[10 - version])
    expect(page.get_by_text("the internet, ")).to_be_visible()


def test_a_session_that_an_operator_ends(page: Page, portal: PortalLab, version: int) -> None:
    open_nowhere(page, portal, url_of(version))
    accept(page, portal, "click")
    page.locator("#continue").click()
    expect(page.get_by_text("the internet, ")).to_be_visible()
    assert "1 ended" in portal.run("sessions", "kick", portal.lab.client.address(version))
    until(lambda: not portal.reaches_internet(version), "captivity")
    # Chromium would use its connection to that address again, if it had not been cut.
    open_nowhere(page, portal, url_of(version))


def test_https_is_refused_and_not_intercepted(page: Page, version: int) -> None:
    with pytest.raises(Exception, match="ERR_CONNECTION_REFUSED"):
        page.goto(url_of(version).replace("http:", "https:"))


def test_wrong_words_are_told(page: Page, portal: PortalLab, version: int) -> None:
    open_nowhere(page, portal, url_of(version))
    form = page.locator("form:has(input[value=voucher])")
    form.locator("[name=code]").fill("WRONG-WRONG")
    form.locator("button").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert not portal.reaches_internet(version)

# SPDX-License-Identifier: MIT
"""The probes of each operating system with its headers, before and after acceptance.

The user agents are those of the systems: Apple's CaptiveNetworkSupport, Android's NetworkMonitor (a
fixed desktop Chrome), ChromeOS, Windows' NCSI, Firefox. NetworkManager sends none.
"""

from __future__ import annotations

import pytest
from ctwsgi_portal.web.probes import PROBES

from tests import ROOT

APPLE = {"User-Agent": "CaptiveNetworkSupport-514.100.16 wispr", "Connection": "close"}
ANDROID = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/60.0.3112.32 Safari/537.36",
    "Connection": "close",
    "Accept-Encoding": "gzip",
}
OLD_ANDROID = {"User-Agent": "Dalvik/2.1.0 (Linux; U; Android 5.1; Nexus 5 Build/LMY47D)"}
CHROMEOS = {
    "User-Agent": "Mozilla/5.0 (X11; CrOS x86_64 15917.71.0) AppleWebKit/537.36 (KHTML, like "
    "Gecko) Chrome/127.0.0.0 Safari/537.36",
    "Pragma": "no-cache",
}
WINDOWS = {"User-Agent": "Microsoft NCSI", "Connection": "Close"}
FIREFOX = {
    "User-Agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 "
    "Firefox/128.0",
    "Accept": "*/*",
    "Accept-Language": "en-US,en;q=0.5",
    "Cache-Control": "no-cache",
    "Pragma": "no-cache",
}
NETWORK_MANAGER = {"Accept": "*/*"}

SUCCESS = "<HTML><HEAD><TITLE>Success</TITLE></HEAD><BODY>Success</BODY></HTML>"
CANONICAL = (
    '<meta http-equiv="refresh" content="0;url=https://support.mozilla.org/kb/captive-portal"/>'
)

ASKED = [
    ("captive.apple.com", "/hotspot-detect.html", APPLE, 200, SUCCESS),
    ("captive.apple.com", "/", APPLE, 200, SUCCESS),
    ("www.apple.com", "/library/test/success.html", APPLE, 200, SUCCESS),
    # Apple's devices also ask changing hosts, with random paths.
    ("www.thinkdifferent.us", "/Zx3kq/8d.html", APPLE, 200, SUCCESS),
    ("connectivitycheck.gstatic.com", "/generate_204", ANDROID, 204, ""),
    ("connectivitycheck.android.com", "/generate_204", OLD_ANDROID, 204, ""),
    ("clients3.google.com", "/generate_204", ANDROID, 204, ""),
    ("www.google.com", "/gen_204", ANDROID, 204, ""),
    ("play.googleapis.com", "/generate_204", ANDROID, 204, ""),
    ("www.gstatic.com", "/generate_204", CHROMEOS, 204, ""),
    ("www.google.com", "/generate_204", CHROMEOS, 204, ""),
    ("www.msftconnecttest.com", "/connecttest.txt", WINDOWS, 200, "Microsoft Connect Test"),
    ("ipv6.msftconnecttest.com", "/connecttest.txt", WINDOWS, 200, "Microsoft Connect Test"),
    ("www.msftncsi.com", "/ncsi.txt", WINDOWS, 200, "Microsoft NCSI"),
    ("detectportal.firefox.com", "/canonical.html", FIREFOX, 200, CANONICAL),
    ("detectportal.firefox.com", "/success.txt?ipv4", FIREFOX, 200, "success\n"),
    ("detectportal.firefox.com", "/success.txt?ipv6", FIREFOX, 200, "success\n"),
    ("nmcheck.gnome.org", "/check_network_status.txt", NETWORK_MANAGER, 200,
     "NetworkManager is online\n"),
    ("network-test.debian.org", "/nm", NETWORK_MANAGER, 200, "NetworkManager is online\n"),
    ("connectivity-check.ubuntu.com", "/", NETWORK_MANAGER, 204, ""),
    ("fedoraproject.org", "/static/hotspot.txt", NETWORK_MANAGER, 200, "OK\n"),
]  # fmt: skip


def test_every_known_probe_is_asked_here():
    asked = {(host, path.partition("?")[0]) for host, path, *_ in ASKED}
    assert set(PROBES) <= asked


@pytest.mark.parametrize(("host", "path", "agent", "status", "body"), ASKED)
def test_captive_then_online(portal, host, path, agent, status, body):
    visitor = portal.visitor()
    captive = visitor.dial(("198.18.7.7", 80), path, host=host, headers=agent)
    assert captive.status == 302
    assert captive.location.startswith(f"{portal.url}/?to=")
    assert captive.headers["Cache-Control"] == "no-store"
    assert captive.headers["Connection"] == "close"

    splash = visitor.follow(captive)
    assert splash.status == 200
    visitor.accept(page=splash)

    online = visitor.dial(("198.18.7.7", 80), path, host=host, headers=agent)
    assert (online.status, online.text) == (status, body)
    assert online.headers["Cache-Control"] == "no-store"
    assert online.headers["Connection"] == "close"
    if agent is NETWORK_MANAGER and "fedora" not in host:
        assert online.headers["X-NetworkManager-Status"] == "online"
    if status == 204:
        assert online.headers["Content-Type"] is None


def test_the_page_after_a_probe_offers_no_way_back_to_it(portal):
    visitor = portal.visitor()
    captive = visitor.dial(path="/generate_204", host="connectivitycheck.gstatic.com")
    splash = visitor.follow(captive)
    assert "gstatic" not in splash.text
    assert 'id="continue"' not in visitor.follow(visitor.accept(page=splash)).text


def test_windows_opens_a_browser_at_a_page_of_its_own(portal):
    answer = portal.visitor().dial(path="/redirect", host="www.msftconnecttest.com")
    assert answer.status == 302


@pytest.mark.parametrize(
    ("method", "status"), [("GET", 302), ("HEAD", 302), ("POST", 303), ("PUT", 303)]
)
def test_a_browser_is_redirected_by_any_method(portal, method, status):
    answer = portal.visitor().dial(host="shop.example", path="/cart", method=method)
    assert answer.status == status
    assert answer.headers["Cache-Control"] == "no-store"


PROGRAMS = [
    {"User-Agent": "curl/8.5.0", "Accept": "*/*"},
    {"User-Agent": "Debian APT-HTTP/1.3 (2.6.1)"},
    {"User-Agent": "python-requests/2.32", "Accept": "*/*", "Accept-Encoding": "gzip"},
    {"User-Agent": "okhttp/4.12.0"},
    {"Accept": "application/json"},
    {},
]


@pytest.mark.parametrize("headers", PROGRAMS)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_program_gets_511_with_the_portals_url(portal, headers, method):
    answer = portal.visitor().dial(host="api.example", path="/v1", method=method, headers=headers)
    assert answer.status == 511
    assert f"{portal.url}/" in answer.text
    assert answer.location == ""
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Connection"] == "close"


def test_the_manual_lists_them():
    """In its table, host and path in one cell or, for further paths, apart."""
    manual = (ROOT / "demo_app/docs/portal.md").read_text()
    _, _, table = manual.partition("## What devices expect")
    rows = table.partition("\n\n**")[0].splitlines()
    for host, path in PROBES:
        (row,) = (row for row in rows if f"`{host}" in row)
        assert f"{path}`" in row

# SPDX-License-Identifier: MIT
"""The Captive Portal API as RFC 8908 defines it: media type, keys, types, and the client.

The keys of section 5 are captive (boolean, required), user-portal-url (string, https),
venue-info-url (string), can-extend-session (boolean), seconds-remaining and bytes-remaining
(integers, only when not captive).
"""

from __future__ import annotations

import json
import socket

import pytest
from ctwsgi_portal.config.listeners import API_PATH

from .serving import API, DEADLINE, PortalProcess
from .stores import report

KEYS = {
    "captive": bool,
    "user-portal-url": str,
    "venue-info-url": str,
    "can-extend-session": bool,
    "seconds-remaining": int,
    "bytes-remaining": int,
}


@pytest.fixture(scope="module")
def portal(tmp_path_factory):
    with PortalProcess(
        tmp_path_factory.mktemp("api"),
        tls=True,
        access='limit = "10MB"',
        portal='venue_info_url = "https://hotel.example/"',
    ) as running:
        yield running


def valid(answer):
    """Checks everything that the RFC demands of any answer. Returns the JSON object."""
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/captive+json"
    assert answer.headers["Cache-Control"] == "no-store"  # stricter than private
    told = json.loads(answer.body)
    assert set(told) <= set(KEYS)
    for key, value in told.items():
        assert type(value) is KEYS[key], (key, value)
    assert "captive" in told
    if told["captive"]:
        assert not {"seconds-remaining", "bytes-remaining"} & set(told)
    else:
        assert told["seconds-remaining"] >= 0
    if "user-portal-url" in told:
        assert told["user-portal-url"].startswith("https://")
    return told


def test_captive(portal):
    assert valid(portal.visitor().api()) == {
        "captive": True,
        "user-portal-url": f"{portal.url}/",
        "venue-info-url": "https://hotel.example/",
    }


def test_accepted(portal):
    visitor = portal.visitor()
    visitor.accept()
    told = valid(visitor.api())
    assert told["captive"] is False
    assert told["can-extend-session"] is True
    assert 7100 < told["seconds-remaining"] <= 7200
    assert told["bytes-remaining"] == 10_000_000

    store = portal.store()
    grant = store.covering("guests", visitor.address).grant
    report(store, grant.id, "gw", None, (), 4_000_000)
    assert valid(visitor.api())["bytes-remaining"] == 6_000_000

    visitor.log_out()
    assert valid(visitor.api())["captive"] is True


def test_the_clients_own_address_decides_not_a_header(portal):
    visitor = portal.visitor()
    visitor.accept()
    assert valid(portal.visitor().api())["captive"] is True


def test_an_address_outside_the_networks_is_told_nothing(portal):
    answer = portal.visitor("127.200.0.1").api()
    assert answer.status == 403
    assert "captive" not in answer.text


@pytest.mark.parametrize("path", ["/", "/captive-portal/api/", "/admin", "/accept"])
def test_nothing_else_is_served_there(portal, path):
    assert portal.visitor().api(path).status == 404


def test_without_tls_there_is_no_answer(portal):
    with socket.create_connection((portal.host, API), DEADLINE) as sock:
        sock.sendall(b"GET /captive-portal/api HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        sock.settimeout(DEADLINE)
        try:
            data = sock.recv(1000)
        except ConnectionResetError:
            data = b""
    assert not data.startswith(b"HTTP/")
    assert b"captive" not in data


def test_the_portals_own_listener_does_not_serve_it(portal):
    assert portal.visitor().get(API_PATH).status == 404

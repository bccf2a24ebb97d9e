# SPDX-License-Identifier: MIT
"""The names of Host headers that the link to go on may have, and its destination."""

from __future__ import annotations

import secrets

import pytest
from ctwsgi_portal.config import parse
from ctwsgi_portal.config.networks import Network
from ctwsgi_portal.web.continuation import Continuations, Destination
from ctwsgi_portal.web.portal import NetworkClient, Portal
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import URLSafeTimedSerializer

CONFIG = """
[portal]
name = "Hotel"
url = "http://portal.example:8081"
store = "sqlite:unused"
secret_file = "unused"
[[networks]]
name = "guests"
addresses = ["10.0.0.0/8", "2001:db8::/64"]
"""


def make() -> tuple[Continuations, Network]:
    config = parse(CONFIG)
    portal = Portal(config, None, secrets.token_bytes(32))  # type: ignore[arg-type] # not used
    return Continuations(portal), config.networks.all[0]


CONTINUATIONS, GUESTS = make()


@pytest.mark.parametrize(
    ("host", "port", "name"),
    [
        ("example.com", 80, "example.com"),
        ("EXAMPLE.com", 80, "example.com"),
        ("example.com:80", 80, "example.com"),
        ("example.com:8080", 8080, "example.com"),
        ("xn--fiqs8s.example", 80, "xn--fiqs8s.example"),
        ("a_b.example.co.uk", 80, "a_b.example.co.uk"),
        ("1.2.3.4.example", 80, "1.2.3.4.example"),
        # A name whose port is not the connection's is not used.
        ("example.com:8080", 80, ""),
        ("example.com", 8080, ""),
        ("example.com:0", 80, ""),
        ("example.com:99999", 99999, "example.com"),
        # Addresses and bare words are not used as names.
        ("198.18.0.1", 80, ""),
        ("[2001:db8::1]", 80, ""),
        ("2130706433", 80, ""),
        ("0x7f.1", 80, ""),
        ("localhost", 80, ""),
        ("", 80, ""),
        # The portal's own name.
        ("portal.example:8081", 8081, ""),
        # These are not spelled like a host name.
        ("user@example.com", 80, ""),
        ("example.com/evil", 80, ""),
        ("example.com?x", 80, ""),
        ("example.com#x", 80, ""),
        ("example.com\\evil", 80, ""),
        ("exa mple.com", 80, ""),
        ("example.com\r\nx: y", 80, ""),
        ("example.com\n", 80, ""),
        ("<b>.example", 80, ""),
        ('"x".example', 80, ""),
        ("exämple.com", 80, ""),
        ("example.com:", 80, ""),
        ("example.com:80:80", 80, ""),
        ("example..com", 80, ""),
        (".example.com", 80, ""),
        ("example.com.", 80, ""),
        ("-x.example", 80, ""),
        ("a" * 64 + ".example", 80, ""),
        ("a." * 127 + "ab", 80, ""),
        ("example.com:８０", 80, ""),
    ],
)
def test_names(host, port, name):
    assert CONTINUATIONS.usable_name(host, port) == name


@given(st.text(max_size=60), st.integers(1, 65535))
def test_a_link_leads_to_a_plain_name_or_address_on_the_port_of_the_connection(host, port):
    name = CONTINUATIONS.usable_name(host, port)
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.")
    url = Destination("198.18.0.1", port, name).url
    end = "/" if port == 80 else f":{port}/"
    assert url == f"http://{name or '198.18.0.1'}{end}"


def test_a_token_holds_the_destination_for_its_client_only():
    client = NetworkClient("10.1.2.3", GUESTS)
    token = CONTINUATIONS.make(client, ("2001:db8::5", 8080), "example.com:8080")
    expected = Destination("2001:db8::5", 8080, "example.com")
    assert CONTINUATIONS.read(client, token) == expected
    assert expected.place == "[2001:db8::5]:8080"
    assert Destination("2001:db8::5", 80).url == "http://[2001:db8::5]/"
    assert CONTINUATIONS.read(NetworkClient("10.1.2.4", GUESTS), token) is None
    another_portal = make()[0]
    assert another_portal.read(client, token) is None


@given(st.text(max_size=100))
def test_a_token_of_nobody_is_none(token):
    assert CONTINUATIONS.read(NetworkClient("10.1.2.3", GUESTS), token) is None


@pytest.mark.parametrize("payload", [[], "x", 5, None, ["10.1.2.3"], {"a": 1}, [1, 2, 3, 4]])
def test_a_token_of_ours_for_something_else_is_none(payload):
    serializer: URLSafeTimedSerializer = CONTINUATIONS._serializer
    token = str(serializer.dumps(payload))
    assert CONTINUATIONS.read(NetworkClient("10.1.2.3", GUESTS), token) is None

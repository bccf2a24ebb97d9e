# SPDX-License-Identifier: MIT
"""`ctwsgi relay` refuses loops and direct connections behind a real REDIRECT."""

from __future__ import annotations

import socket

import pytest

from tests.lab.streams import receive_header

from .field import ROOT, assert_dial_is_reset
from .link import (
    GATEWAY,
    GATEWAY_V6,
    somewhere,
    somewhere_v6,
)


def test_loops_and_direct_connections_are_refused(field):
    relay = field.start_v6(
        "--format", "proxy", "--self", "198.19.5.5", "--self", "[2001:db8:5::5]:443"
    )
    v4, v6 = relay.ports()
    assert_dial_is_reset(field, (GATEWAY_V6, 80))
    relay.wait_count("refused:loop", 1)
    assert_dial_is_reset(field, ("2001:db8:5::5", 443))
    relay.wait_count("refused:loop", 2)
    assert_dial_is_reset(field, (GATEWAY_V6, v6))
    relay.wait_count("refused:not-redirected", 1)
    field.link.clear()
    field.link.redirect(v4)
    assert_dial_is_reset(field, (GATEWAY, 80))
    relay.wait_count("refused:loop", 3)
    assert_dial_is_reset(field, ("198.19.5.5", 8080))
    relay.wait_count("refused:loop", 4)
    assert_dial_is_reset(field, (GATEWAY, v4))
    relay.wait_count("refused:not-redirected", 2)
    assert "relayed" not in relay.counters()
    assert "loop" in relay.log()
    receive_header(field.pair()[1])
    assert relay.counters()["relayed"] == 1


def test_a_redirect_rule_that_catches_the_relay_itself_is_a_loop(field):
    """A common mistake: nat OUTPUT redirects also the relay's connection to the upstream."""
    upstream = somewhere()
    relay = field.start("--format", "proxy", upstream="%s:%d" % upstream)
    field.link.redirect(relay.ports()[0], "output", f"ip daddr {upstream[0]}")
    assert_dial_is_reset(field)
    relay.wait_count("refused:loop")
    assert relay.counters()["accepted"] == 2
    assert "exempt it from the redirect rule" in relay.log()


def test_an_upstream_that_refuses(field):
    with field.link.gateway.inside():
        taken = field.stack.enter_context(socket.socket())
    taken.bind(("127.0.0.1", 0))  # bound, so that nobody else gets the port; not listening
    upstream = "127.0.0.1:%d" % taken.getsockname()[1]
    relay = field.start("--format", "proxy", upstream=upstream)
    assert_dial_is_reset(field)
    relay.wait_count("upstream:ECONNREFUSED")


def test_the_rules_of_the_manual(field):
    """The rules of docs/relay.md, with another device and port."""
    relay = field.start_v6("--format", "proxy")
    v4, v6 = relay.ports()
    field.link.clear()
    manual = (ROOT / "docs" / "relay.md").read_text()
    rules = manual.partition("<<'RULES'\n")[2].partition("RULES\n")[0]
    v4_rule, v6_rule = (line for line in rules.splitlines() if "redirect to :8080" in line)
    rules = rules.replace(v4_rule, v4_rule.replace("8080", str(v4)))
    rules = rules.replace(v6_rule, v6_rule.replace("8080", str(v6)))
    field.link.gateway.nft(rules.replace("lan0", "far").replace("8080", f"{{ {v4}, {v6} }}"))
    for host in (somewhere()[0], somewhere_v6()[0]):
        client = field.dial((host, 80))
        header = receive_header(field.accept())
        assert (header.dst, header.src) == ((host, 80), client.getsockname()[:2])
    for direct in ((GATEWAY, v4), (GATEWAY_V6, v6)):
        with field.link.client.inside(), pytest.raises(TimeoutError):
            socket.create_connection(direct, 0.5)
    assert relay.counters() == {"active": 2, "accepted": 2, "relayed": 2}

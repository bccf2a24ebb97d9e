# SPDX-License-Identifier: MIT
"""Connections that the server refuses, with their reasons."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Any

import pytest

from ctwsgi.errors import OriginError, Reason
from ctwsgi.linux import original_destination
from ctwsgi.relay import (
    Endpoint,
)
from tests.lab.wait import until

from .rig import DIALLED, assert_dial_is_reset, taken_port


def refuse_with(reason: Reason) -> Callable[[socket.socket], Any]:
    def destination(sock: socket.socket) -> Any:
        raise OriginError(reason, "a test")

    return destination


@pytest.mark.parametrize(
    ("destination", "reason"),
    [
        (lambda sock: None, "not-redirected"),
        (lambda sock: ("127.0.0.1", 80), "loop"),
        (lambda sock: ("::1", 80), "loop"),
        (lambda sock: ("0.0.0.0", 80), "loop"),
        (lambda sock: ("203.0.113.5", 80), "loop"),
        (lambda sock: ("203.0.113.6", 443), "loop"),
        (refuse_with(Reason.CONNTRACK_UNAVAILABLE), "conntrack-unavailable"),
        (refuse_with(Reason.CONNTRACK_ERROR), "conntrack-error"),
    ],
)
def test_refusals_are_closed_and_counted(rig, destination, reason, caplog):
    own = [("203.0.113.5", None), ("203.0.113.6", 443)]
    with caplog.at_level(logging.WARNING, "ctwsgi.relay"):
        b = rig(destination=destination, own=own)
        assert_dial_is_reset(b)
        b.wait_count(f"refused:{reason}")
    assert b.counters["relayed"] == 0
    assert f"refused:{reason}" in caplog.text


def test_the_kernel_says_that_a_direct_connection_was_not_redirected(rig):
    b = rig(destination=original_destination)
    assert_dial_is_reset(b)
    until(lambda: any(name.startswith("refused:") for name in b.counters), "a refusal")
    # Which of the two depends on whether this namespace has a rule that needs conntrack.
    assert {name for name in b.counters if name.startswith("refused:")} <= {
        "refused:not-redirected",
        "refused:conntrack-unavailable",
    }


def test_a_listener_on_an_address_of_no_interface_is_a_loop(rig):
    """Asks the guard directly, because 127.0.0.0/8 would be refused as local."""
    b = rig(listens=("127.0.0.1:0", "127.0.0.2:0"), own=[("198.18.0.1", 8000)])
    guard = b.relay._guard
    assert all(guard.refuses(address) for address in b.addresses)
    assert guard.refuses(("198.18.0.1", 8000))
    assert not guard.refuses(("198.18.0.1", 8001))


def test_our_own_call_that_comes_back_is_a_loop(rig):
    """The redirect rule catches the relay's own connections, so its upstream is itself."""
    arrived: list[Any] = []

    def destination(sock: socket.socket) -> Any:
        arrived.append(sock.getpeername())
        # The first connection is a client's; the relay made the second to its upstream.
        return DIALLED if len(arrived) == 1 else upstream

    with taken_port() as upstream:
        b = rig(
            upstream=Endpoint(socket.AF_INET, upstream),
            listens=("127.0.0.1:%d" % upstream[1],),
            destination=destination,
        )
    # 127.0.0.1 would be refused as local: leave only the check of the relay's own calls.
    b.relay._guard = NoGuard()
    assert_dial_is_reset(b)
    b.wait_count("refused:loop")
    assert len(arrived) == 2


class NoGuard:
    def refuses(self, destination: Any) -> bool:
        return False


def test_refusals_are_logged_once_a_second_at_most(rig, caplog):
    with caplog.at_level(logging.WARNING, "ctwsgi.relay"):
        b = rig(destination=lambda sock: None)
        for _ in range(50):
            assert_dial_is_reset(b)
        b.wait_count("refused:not-redirected", 50)
    started, ended = caplog.records[0].created, caplog.records[-1].created
    # A record's time is a little later than the decision to log it, so one may be missing.
    assert len(caplog.records) <= 2 + (ended - started)

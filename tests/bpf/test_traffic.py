# SPDX-License-Identifier: MIT
"""Attach, replace and detach the program under traffic, with 5 % loss on every wire."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab import until

from .available import unavailable
from .crowd import Crowd, lose
from .gateway import DEVICE, Gateway

ROUNDS = 20 if os.environ.get("CTWSGI_TEST_FULL") else 5

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))


def flow_on(crowd: Crowd, count: int) -> None:
    """Wait until `count` more connections were correct."""
    wanted = crowd.sound + count
    until(lambda: crowd.sound >= wanted or crowd.wrong, "connections flow", 120)


def test_replaced_under_traffic(gateway: Gateway) -> None:
    """With 100 connections at a time, each header is correct, and each connection ends with EOF."""
    gateway.command("attach", DEVICE)
    lose(gateway, 5)
    with gateway.listening() as listener, Crowd(gateway, listener, 100) as crowd:
        for _ in range(ROUNDS):
            flow_on(crowd, 100)
            assert "replaced" in gateway.command("attach", DEVICE).stdout
        flow_on(crowd, 100)
    assert not crowd.wrong, crowd.wrong[:3]
    assert [*crowd.ends] == ["eof"], crowd.ends
    counters = gateway.counters()
    assert counters["flows_opened"] >= 100 * ROUNDS
    assert "drop_no_syn" not in counters, "a flow was lost on the way"


@contextmanager
def closed(gateway: Gateway) -> Iterator[None]:
    """Drop SYNs and SYN-ACKs during the `with` block: no connection begins while the program is
    detached, and those that are half-open stay so until `detach`, however late it comes.
    """
    gateway.lab.gateway.nft(
        "table inet closed {\n chain forward {\n type filter hook forward priority 10;\n"
        " tcp flags & syn == syn drop\n }\n}\n"
    )
    try:
        yield
    finally:
        gateway.lab.gateway.nft("delete table inet closed\n")


def test_attached_and_detached_under_traffic(gateway: Gateway) -> None:
    """Each connection has a correct header, or is reset without data; none hangs."""
    attach = ("attach", DEVICE, "--existing", "pass")
    gateway.command(*attach)
    lose(gateway, 5)
    output = ""
    with gateway.listening() as listener, Crowd(gateway, listener, 100) as crowd:
        for _ in range(ROUNDS):
            flow_on(crowd, 100)
            with closed(gateway):
                output += gateway.command("detach", DEVICE).stdout
                gateway.command(*attach)
        flow_on(crowd, 100)
    assert not crowd.wrong, crowd.wrong[:3]
    # ETIMEDOUT: each retransmission of a SYN may have met a time when SYNs were dropped.
    assert {*crowd.ends} <= {"eof", "ECONNRESET", "ECONNREFUSED", "ETIMEDOUT"}, crowd.ends
    assert "reset" in output, "no connection was half-open at a detach"
    assert crowd.ends["eof"] > crowd.ends.total() / 2, crowd.ends

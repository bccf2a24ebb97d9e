# SPDX-License-Identifier: MIT
"""Attached, replaced and detached under traffic, with 5 % loss on every wire."""

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


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway() as gateway:
        yield gateway


def flow_on(crowd: Crowd, count: int) -> None:
    """Until that many more connections were sound."""
    wanted = crowd.sound + count
    until(lambda: crowd.sound >= wanted or crowd.wrong, "connections flow", 60)


def test_replaced_under_traffic(gateway: Gateway) -> None:
    """100 handshakes in flight: each header is whole and true, and each connection ends well."""
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
    """No connection begins that the program has not seen."""
    gateway.lab.gateway.nft(
        "table inet closed {\n chain forward {\n type filter hook forward priority 10;\n"
        " tcp flags & (syn | ack) == syn drop\n }\n}\n"
    )
    try:
        yield
    finally:
        gateway.lab.gateway.nft("delete table inet closed\n")


def test_attached_and_detached_under_traffic(gateway: Gateway) -> None:
    """What began while the program was there has a header, or ends empty; nothing hangs."""
    attach = ("attach", DEVICE, "--existing", "pass")
    gateway.command(*attach)
    lose(gateway, 5)
    said = ""
    with gateway.listening() as listener, Crowd(gateway, listener, 100) as crowd:
        for _ in range(ROUNDS):
            flow_on(crowd, 100)
            with closed(gateway):
                said += gateway.command("detach", DEVICE).stdout
                gateway.command(*attach)
        flow_on(crowd, 100)
    assert not crowd.wrong, crowd.wrong[:3]
    # A SYN may have come again and again while nothing could begin.
    assert {*crowd.ends} <= {"eof", "ECONNRESET", "ECONNREFUSED", "ETIMEDOUT"}, crowd.ends
    assert "reset" in said, "none was just being opened"
    assert crowd.ends["eof"] > crowd.ends.total() / 2, crowd.ends

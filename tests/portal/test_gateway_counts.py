# SPDX-License-Identifier: MIT
"""Every byte is charged once: up and down, after a logout, after an agent's death."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from ctwsgi_portal.state.records import Voucher

from tests.lab.portal import INTERNET
from tests.lab.requirements import unavailable
from tests.lab.wait import until

from .gateway import Gateway, gateway, in_time, passes

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))

SOME = 300_000
"""Bytes in each direction. Headers and acknowledgements are less than a tenth of them."""


@pytest.fixture
def running() -> Iterator[Gateway]:
    with gateway() as made:
        yield made


def echo(running: Gateway, version: int = 4) -> None:
    """Sends SOME bytes up, and receives them again."""
    with running.client.connect((INTERNET[version], 7)) as flow:
        left, back = SOME, 0
        while back < SOME:
            sent = flow.send(bytes(min(left, 10_000))) if left else 0
            left -= sent
            back += len(flow.recv(1 << 16))


def used(running: Gateway) -> int:
    """The bytes that the store knows."""
    return sum(s.usage.bytes for s in running.store.snapshot().sessions)


def charged(running: Gateway, times: float) -> None:
    """Waits for at least `times` SOME, and checks that it is not much more."""
    in_time(lambda: used(running) >= times * SOME, f"{times} times the bytes")
    assert used(running) < (times + 0.1 * times) * SOME


def test_up_and_down_count_once(running: Gateway) -> None:
    running.grant(running.client)
    in_time(lambda: passes(running.client), "passage")
    echo(running)
    charged(running, 2)
    echo(running, 6)
    charged(running, 4)


def test_an_agents_death_costs_nobody_a_byte(running: Gateway) -> None:
    running.grant(running.client)
    in_time(lambda: passes(running.client), "passage")
    echo(running)
    charged(running, 2)
    running.agent.signal(signal.SIGKILL)
    in_time(lambda: running.agent.returncode is not None, "death")
    echo(running)
    running.start()
    charged(running, 4)
    # The next agent continues from the counters that the store knows.
    running.start()
    echo(running)
    charged(running, 6)


def test_who_logs_out_in_time_has_used_a_voucher_all_the_same() -> None:
    with gateway(report="1h") as running:
        code = Voucher("digest", "batch", 3600, 10 * SOME, 1, 2e9)
        running.store.add_vouchers([code])
        made = running.grant(running.client, voucher="digest")
        in_time(lambda: passes(running.client), "passage")
        echo(running)
        assert used(running) == 0
        running.store.end(made.id, "logout")

        def counted() -> bool:
            (voucher,) = running.store.vouchers()
            return 2 * SOME <= voucher.used_bytes < 2.2 * SOME

        until(counted, "the voucher's bytes")

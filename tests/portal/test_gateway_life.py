# SPDX-License-Identifier: MIT
"""Restarts, flushes and deaths on a gateway, and the ends of grants."""

from __future__ import annotations

import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.lab.portal import INTERNET, TABLE
from tests.lab.requirements import unavailable
from tests.lab.wait import DEADLINE

from .gateway import Gateway, gateway, in_time, passes

GHOST = "02:00:00:00:99:99"
"""The MAC of a device that does not exist."""

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))


@pytest.fixture
def running() -> Iterator[Gateway]:
    with gateway() as made:
        yield made


def granted(running: Gateway) -> str:
    """Grants the client, and waits until it passes. Returns the id."""
    made = running.grant(running.client, 4)
    in_time(lambda: passes(running.client), "passage")
    return made.id


def shorten(running: Gateway) -> None:
    """Replaces the client's grant by one of 6 s, and waits until the agent has applied it."""
    running.grant(running.client, lifetime=6)
    in_time(lambda: running.ends_soon("macs"), "the short grant in the filter")


def all_cut(running: Gateway) -> None:
    """Waits until the agent has deleted from conntrack what it wants to delete now. It works in
    order, so the last flow to go is that of a session which ends after all others.
    """
    last = running.grant(running.other)
    in_time(lambda: passes(running.other, port=7), "passage")
    running.store.end(last.id, "kicked")
    in_time(lambda: not running.flows(running.other.address()), "no flow of the last one")


def test_nothing_is_interrupted_by_a_restart(running: Gateway) -> None:
    granted(running)
    with running.client.connect((INTERNET[4], 7)) as flow:
        running.agent.signal(signal.SIGKILL)
        in_time(lambda: running.agent.returncode is not None, "death")
        flow.sendall(b"1")
        assert flow.recv(1) == b"1"
        again = running.start()
        flow.sendall(b"2")
        assert flow.recv(1) == b"2"
    assert passes(running.client)
    again.stop()
    assert passes(running.client)
    assert not passes(running.other)


def test_what_happened_while_the_agent_was_away(running: Gateway) -> None:
    ended = granted(running)
    running.agent.signal(signal.SIGKILL)
    in_time(lambda: running.agent.returncode is not None, "death")
    running.store.end(ended, "kicked")
    running.grant(running.other)
    assert passes(running.client)
    running.start()
    in_time(lambda: passes(running.other), "the new grant")
    assert not passes(running.client)


def test_a_dead_agent_leaves_nobody_in(running: Gateway) -> None:
    granted(running)
    with running.client.connect((INTERNET[4], 7)) as flow:
        shorten(running)
        running.agent.signal(signal.SIGKILL)
        in_time(lambda: not running.elements("macs"), "the end of the grant")
        flow.sendall(b"1")
        with pytest.raises(ConnectionResetError):
            flow.recv(1)
    assert not passes(running.client)


def test_time_runs_out_and_flows_with_it(running: Gateway) -> None:
    granted(running)
    with running.client.connect((INTERNET[4], 7)) as flow:
        shorten(running)
        in_time(lambda: running.store.ended(1)[0].reason == "time", "the end in the store")
        in_time(lambda: not running.elements("macs"), "the end in the filter")
        flow.sendall(b"1")
        with pytest.raises(ConnectionResetError):
            flow.recv(1)
    assert not running.elements("back4")


def test_a_longer_grant_of_the_same_client(running: Gateway) -> None:
    granted(running)
    with running.client.connect((INTERNET[4], 7)) as flow:
        shorten(running)
        longer = running.grant(running.client)
        end = longer.granted_at + 5
        while time.time() < end:
            flow.sendall(b"1")
            assert flow.recv(1) == b"1"
            time.sleep(0.05)  # the flow must not be interrupted at any time until the end


def test_grants_that_follow_each_other(running: Gateway) -> None:
    """A grant may be replaced at any moment while the agent works on it."""
    granted(running)
    with running.client.connect((INTERNET[4], 7)) as flow:
        for number in range(40):
            end = time.monotonic() + number * 0.004
            running.grant(running.client)
            while time.monotonic() < end:
                flow.sendall(b"1")
                assert flow.recv(1) == b"1"


def test_a_client_behind_a_router(running: Gateway) -> None:
    """It is known by its address alone. A renewed grant keeps its translated flows, a kick cuts
    them.
    """
    address = "10.77.9.1"
    running.client.ip("addr", "add", f"{address}/32", "dev", "lo")
    running.gateway.ip("route", "add", f"{address}/32", "via", running.client.address(4))
    running.gateway.nft(
        "table ip nat { chain out { type nat hook postrouting priority srcnat; "
        'oifname "server" masquerade; }; }'
    )
    running.grant(running.client, address=address)
    in_time(lambda: address in running.elements("granted4"), "the grant")
    with running.client.socket(socket.AF_INET) as flow:
        flow.settimeout(DEADLINE)
        flow.bind((address, 0))
        flow.connect((INTERNET[4], 7))
        ours = running.flows(address)
        renewed = running.grant(running.client, address=address)
        all_cut(running)
        assert running.flows(address) == ours
        flow.sendall(b"1")
        assert flow.recv(1) == b"1"
        running.store.end(renewed.id, "kicked")
        in_time(lambda: not running.flows(address), "no flow in conntrack")
        flow.sendall(b"2")
        with pytest.raises(ConnectionResetError):
            flow.recv(1)


@pytest.mark.parametrize(
    "deed",
    [
        "flush ruleset",
        pytest.param(f"delete table inet {TABLE}", marks=pytest.mark.full),
        pytest.param(f"flush table inet {TABLE}", marks=pytest.mark.full),
        f"flush chain inet {TABLE} forward",
        f"flush set inet {TABLE} macs",
        pytest.param(f"flush set inet {TABLE} back4", marks=pytest.mark.full),
    ],
)
def test_what_others_take_away_comes_back(running: Gateway, deed: str) -> None:
    granted(running)
    running.gateway.nft(deed)
    in_time(lambda: not passes(running.other) and passes(running.client), "the filter as it was")
    in_time(lambda: running.elements("back4") == {running.client.address()}, "the way back")


def test_strangers_in_our_sets_are_thrown_out(running: Gateway) -> None:
    granted(running)
    running.agent.signal(signal.SIGSTOP)  # it looks each second
    running.gateway.nft(f"add element inet {TABLE} macs {{ 02:00:00:00:02:01 timeout 1h }}")
    assert passes(running.other)
    running.agent.signal(signal.SIGCONT)
    in_time(lambda: not passes(running.other), "the stranger's end")
    assert passes(running.client)


def test_data_runs_out(running: Gateway) -> None:
    running.grant(running.client, limit_bytes=300_000)
    in_time(lambda: passes(running.client), "passage")
    with running.client.connect((INTERNET[4], 19)) as flow:
        flow.sendall(b"200000\n")
        while flow.recv(65536):
            pass
    in_time(
        lambda: any(s.usage.bytes > 200_000 for s in running.store.snapshot().sessions),
        "the bytes in the store",
    )
    assert passes(running.client)
    with running.client.connect((INTERNET[6], 19)) as flow:
        flow.sendall(b"150000\n")
        in_time(lambda: running.store.ended(1), "the end")
    in_time(lambda: not running.elements("macs"), "the end in the filter")
    ended = running.store.ended(1)[0]
    assert ended.reason == "data"
    # Headers and both directions count, so it is a little more than the payload.
    assert 300_000 <= ended.session.usage.bytes < 400_000
    assert not passes(running.client)


def held(running: Gateway, address: str, mac: str) -> None:
    """Sets the MAC of an address in the gateway's neighbour table."""
    entry = ("neigh", "replace", address, "lladdr", mac, "nud", "permanent", "dev", "client")
    running.gateway.ip(*entry)


def test_an_address_that_another_device_takes_over(running: Gateway) -> None:
    granted(running)
    address = running.client.address()
    held(running, address, GHOST)
    in_time(lambda: running.store.ended(1), "the end")
    assert running.store.ended(1)[0].reason == "moved"


def test_a_further_address_that_another_device_takes_over(running: Gateway) -> None:
    """The session goes on without it, and the device that has it now is redirected."""
    granted(running)
    address = running.client.address(6)
    in_time(lambda: passes(running.client, 6), "passage")
    with running.client.connect((INTERNET[6], 7)):
        in_time(lambda: running.store.covering("guests", address), "the address in the store")
        held(running, address, GHOST)
        in_time(lambda: not running.store.covering("guests", address), "the end of that address")
    in_time(lambda: address not in running.elements("back6"), "the end in the filter")
    in_time(lambda: not running.flows(address), "no flow in conntrack")
    assert running.elements("back4") == {running.client.address()}
    assert passes(running.client)
    assert not running.store.ended(1)


def test_who_has_an_address_now_keeps_its_flows(running: Gateway) -> None:
    """Another client's session had the address before, and ends later."""
    address, device = running.client.address(6), "02:00:00:00:01:01"
    table = (
        "table ip6 nat { chain out { type nat hook postrouting priority srcnat; "
        'oifname "server" masquerade; }; }'
    )
    running.gateway.nft(table)
    held(running, "10.77.1.200", GHOST)
    held(running, address, GHOST)
    running.grant(running.client, address="10.77.1.200", lifetime=7200)
    in_time(lambda: running.store.covering("guests", address), "the other's address")
    ours = granted(running)
    held(running, address, device)
    with running.client.connect((INTERNET[6], 7)) as flow:
        before = running.flows(address)
        in_time(
            lambda: (s := running.store.covering("guests", address)) and s.grant.id == ours,
            "the address of its new holder",
        )
        all_cut(running)
        assert running.flows(address) == before
        flow.sendall(b"1")
        assert flow.recv(1) == b"1"


@pytest.mark.parametrize("version", [4, pytest.param(6, marks=pytest.mark.full)])
def test_the_last_page_of_a_portal_elsewhere_arrives(version: int) -> None:
    """The agent may cut the client before the answer to its logout arrives."""
    with gateway(remote=True) as running, running.lab.server.listen("::", 8081) as portal:
        made = running.grant(running.client)
        in_time(lambda: passes(running.client, version, 7), "passage")
        host = running.lab.server.address(version, "gateway")
        with running.client.connect((host, 8081)) as page:
            accepted, _ = portal.accept()
            with accepted:
                running.store.end(made.id, "logout")
                address = running.client.address(version)
                in_time(lambda: not running.flows(address), "no other flow in conntrack")
                accepted.sendall(b"you are logged out")
                assert page.recv(100) == b"you are logged out"


def test_a_session_that_vanished_ends_while_others_come(running: Gateway) -> None:
    """The store has lost it without a change. The answer to a report tells the agent."""
    vanished = granted(running)
    with closing(sqlite3.connect(running.url.removeprefix("sqlite:"))) as db, db:
        for table in ("addresses", "sessions"):
            db.execute(f"DELETE FROM {table} WHERE id = ?", (vanished,))

    def is_out() -> bool:
        running.grant(running.other)  # each call makes a change
        return not passes(running.client)

    in_time(is_out, "the end")


def test_the_table_can_be_removed(running: Gateway) -> None:
    running.agent.stop()
    assert not passes(running.client)
    running.gateway.run([*running.agent_command, "--remove"])
    assert passes(running.client)

# SPDX-License-Identifier: MIT
"""The store's sessions, changes and reports, in each implementation."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from ctwsgi_portal.state import CursorLost, open_store
from ctwsgi_portal.state.records import Report, Usage, new_id

from tests.lab.wait import until

from .records import GATEWAY, OTHER_GATEWAY, grant, kinds, voucher
from .stores import report


class TestSessions:
    def test_a_grant_covers_its_address_in_its_network(self, store):
        one = grant("10.0.0.1", who="alice", method="password", limit_bytes=10**12)
        store.grant(one)
        session = store.covering("guests", "10.0.0.1")
        assert session.grant == one
        assert session.usage == Usage(0, ("10.0.0.1",))
        assert store.covering("guests", "10.0.0.2") is None
        assert store.covering("staff", "10.0.0.1") is None

    def test_ipv6_addresses_are_addresses(self, store):
        store.grant(grant("2001:db8::1"))
        assert store.covering("guests", "2001:db8::1") is not None

    def test_all_of_a_grant_comes_back_from_another_opening(self, store, store_url):
        one = grant(mac="02:00:00:00:00:01", method="voucher", who="Zimmer 12 – 房间", voucher="d")
        store.grant(one)
        other = open_store(store_url)
        assert other.covering("guests", "10.0.0.1").grant == one
        assert [s.grant for s in other.snapshot().sessions] == [one]
        other.close()

    def test_a_newer_grant_replaces_the_older(self, store):
        first, second = grant(), grant()
        cursor = store.snapshot().cursor
        store.grant(first)
        store.grant(second)
        assert store.covering("guests", "10.0.0.1").grant == second
        assert len(store.snapshot().sessions) == 1
        assert kinds(store.changes(cursor, 0)) == [
            ("granted", "10.0.0.1", None),
            ("ended", "10.0.0.1", "replaced"),
            ("granted", "10.0.0.1", None),
        ]

    def test_a_grant_for_a_reported_address_replaces_the_session_that_has_it(self, store):
        first = grant("10.0.0.1")
        store.grant(first)
        report(store, first.id, GATEWAY, None, ["2001:db8::1"], 0)
        second = grant("2001:db8::1")
        store.grant(second)
        assert store.covering("guests", "2001:db8::1").grant == second
        assert store.covering("guests", "10.0.0.1") is None

    def test_the_same_address_in_two_networks_is_two_clients(self, store):
        store.grant(grant(network="guests"))
        store.grant(grant(network="staff"))
        assert len(store.snapshot().sessions) == 2

    @pytest.mark.parametrize("reason", ["logout", "kicked", "moved"])
    def test_end(self, store, reason):
        one = grant()
        store.grant(one)
        assert store.end(one.id, reason)
        assert store.covering("guests", "10.0.0.1") is None
        assert store.snapshot().sessions == ()
        assert not store.end(one.id, reason)
        (ended,) = store.ended(10)
        assert (ended.session.grant, ended.reason) == (one, reason)
        assert abs(ended.ended_at - time.time()) < 60

    def test_ending_what_never_was(self, store):
        assert not store.end(new_id(), "kicked")
        assert not store.end("", "kicked")

    def test_time_ends_a_session(self, store):
        one = grant(lifetime=0.5)
        cursor = store.snapshot().cursor
        store.grant(one)
        until(lambda: store.covering("guests", "10.0.0.1") is None, "the end")
        assert store.snapshot().sessions == ()
        assert kinds(store.changes(cursor, 0)) == [
            ("granted", "10.0.0.1", None),
            ("ended", "10.0.0.1", "time"),
        ]
        (ended,) = store.ended(10)
        assert ended.reason == "time"
        assert abs(ended.ended_at - one.expires_at) < 5

    def test_a_snapshot_is_oldest_first(self, store):
        now = time.time()
        for i in (3, 1, 2):
            store.grant(grant(f"10.0.0.{i}", granted_at=now - 10 + i))
        found = [s.grant.address for s in store.snapshot().sessions]
        assert found == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]

    def test_ended_is_newest_first_and_no_more_than_asked(self, store):
        for i in range(5):
            one = grant(f"10.0.0.{i}")
            store.grant(one)
            store.end(one.id, "logout")
            time.sleep(0.002)
        assert [e.session.grant.address for e in store.ended(2)] == ["10.0.0.4", "10.0.0.3"]


class TestChanges:
    def test_a_snapshot_and_its_changes_have_no_gap(self, store):
        store.grant(grant("10.0.0.1"))
        snapshot = store.snapshot()
        two = grant("10.0.0.2")
        store.grant(two)
        store.end(two.id, "logout")
        changes = store.changes(snapshot.cursor, 0)
        assert kinds(changes) == [("granted", "10.0.0.2", None), ("ended", "10.0.0.2", "logout")]
        assert kinds(store.changes(changes[0].cursor, 0)) == [("ended", "10.0.0.2", "logout")]
        assert store.changes(changes[-1].cursor, 0) == []

    def test_a_change_holds_the_session(self, store):
        cursor = store.snapshot().cursor
        one = grant(limit_bytes=5)
        store.grant(one)
        (change,) = store.changes(cursor, 0)
        assert change.session.grant == one
        assert change.session.usage.addresses == ("10.0.0.1",)

    def test_waiting_ends_with_the_first_change_of_another_process(self, store, store_url):
        cursor = store.snapshot().cursor
        code = (
            "import sys; from ctwsgi_portal.state import open_store; "
            "from ctwsgi_portal.state.records import Grant; "
            "s = open_store(sys.argv[1]); s.grant(Grant('a'*32, 'guests', '10.0.0.1', None,"
            "1.0, 9e9, None, 'click'))"
        )
        with subprocess.Popen([sys.executable, "-c", code, store_url]) as process:
            changes = store.changes(cursor, 30)
            assert process.wait(30) == 0
        assert kinds(changes) == [("granted", "10.0.0.1", None)]

    def test_waiting_ends_with_a_change_by_another_thread_of_this_process(self, store):
        cursor = store.snapshot().cursor
        timer = threading.Timer(0.2, store.grant, [grant()])
        timer.start()
        began = time.monotonic()
        assert kinds(store.changes(cursor, 30)) == [("granted", "10.0.0.1", None)]
        assert time.monotonic() - began < 10
        timer.join()

    def test_waiting_ends_when_a_session_runs_out(self, store):
        cursor = store.snapshot().cursor
        store.grant(grant(lifetime=0.5))
        granted, *ended = store.changes(cursor, 30)
        # On a busy machine it may have run out before.
        ended = ended or store.changes(granted.cursor, 30)
        assert kinds(ended) == [("ended", "10.0.0.1", "time")]

    def test_waiting_for_nothing_ends_with_the_timeout(self, store):
        cursor = store.snapshot().cursor
        began = time.monotonic()
        assert store.changes(cursor, 0.3) == []
        assert 0.2 < time.monotonic() - began < 20

    @pytest.mark.parametrize("cursor", ["", "x", "0", "nonsense-7", "9" * 30, "a-b-c"])
    def test_a_cursor_of_nobody_is_lost(self, store, cursor):
        store.grant(grant())
        with pytest.raises(CursorLost):
            store.changes(cursor, 0)


class TestReports:
    def test_mac_and_addresses_are_an_update_and_bytes_add_up(self, store):
        one = grant()
        store.grant(one)
        cursor = store.snapshot().cursor
        mac = "02:00:00:00:00:01"
        assert report(store, one.id, GATEWAY, mac, ["10.0.0.1", "2001:db8::1"], 100)
        assert report(store, one.id, GATEWAY, mac, ["10.0.0.1", "2001:db8::1"], 20)
        assert report(store, one.id, OTHER_GATEWAY, None, (), 3)
        session = store.covering("guests", "2001:db8::1")
        assert session.grant == replace(one, mac=mac)
        assert session.usage == Usage(123, ("10.0.0.1", "2001:db8::1"))
        (change,) = store.changes(cursor, 0)
        assert change.kind == "updated"
        assert change.session.usage.addresses == ("10.0.0.1", "2001:db8::1")
        assert change.session.grant.mac == mac

    def test_addresses_of_gateways_are_joined_the_grants_own_first(self, store):
        one = grant("10.0.0.9")
        store.grant(one)
        report(store, one.id, GATEWAY, None, ["2001:db8::1"], 0)
        report(store, one.id, OTHER_GATEWAY, None, ["10.0.0.1"], 0)
        found = store.covering("guests", "10.0.0.9").usage.addresses
        assert found[0] == "10.0.0.9"
        assert set(found) == {"10.0.0.9", "2001:db8::1", "10.0.0.1"}

    def test_an_address_moves_to_whom_it_was_last_seen_with(self, store):
        one, two = grant("10.0.0.1"), grant("10.0.0.2")
        store.grant(one)
        store.grant(two)
        report(store, one.id, GATEWAY, None, ["2001:db8::7"], 0)
        report(store, two.id, GATEWAY, None, ["2001:db8::7"], 0)
        assert store.covering("guests", "2001:db8::7").grant == two
        assert store.covering("guests", "10.0.0.1").usage.addresses == ("10.0.0.1",)

    def test_an_address_that_was_accepted_itself_does_not_move(self, store):
        one, two = grant("10.0.0.1"), grant("10.0.0.2")
        store.grant(one)
        store.grant(two)
        report(store, two.id, GATEWAY, None, ["10.0.0.1"], 0)
        assert store.covering("guests", "10.0.0.1").grant == one

    def test_the_limit_ends_the_session(self, store):
        one = grant(limit_bytes=1000)
        store.grant(one)
        cursor = store.snapshot().cursor
        assert report(store, one.id, GATEWAY, None, (), 999)
        assert not report(store, one.id, OTHER_GATEWAY, None, (), 1)
        assert store.covering("guests", "10.0.0.1") is None
        assert kinds(store.changes(cursor, 0)) == [("ended", "10.0.0.1", "data")]
        assert store.ended(1)[0].session.usage.bytes == 1000

    def test_many_at_once(self, store):
        there, gone = grant(), grant("10.0.0.2")
        store.grant(there)
        reports = [Report(gone.id, added=1), Report(there.id, added=2), Report(there.id, added=3)]
        assert store.report(GATEWAY, "batch", reports) == [gone.id]
        assert store.report(GATEWAY, "another", []) == []
        assert store.snapshot().sessions[0].usage.bytes == 5

    def test_the_same_batch_twice(self, store):
        """The agent sends a batch again when its answer was lost."""
        store.add_vouchers([voucher()])
        there, gone = grant(voucher="d1"), grant("10.0.0.2")
        store.grant(there)
        reports = [
            Report(there.id, added=2, voucher="d1", counters={"back4 b": 2}),
            Report(gone.id, added=1, voucher="d1"),
        ]
        assert store.report(GATEWAY, "one", reports) == [gone.id]
        assert store.report(GATEWAY, "one", reports) == [gone.id]
        assert store.vouchers()[0].used_bytes == 3
        assert store.report(OTHER_GATEWAY, "one", reports) == [gone.id]
        assert store.report(GATEWAY, "two", reports) == [gone.id]
        assert store.snapshot().sessions[0].usage.bytes == 6
        assert store.vouchers()[0].used_bytes == 9

    def test_an_address_that_another_device_has_now(self, store):
        one, two = grant(), grant("10.0.0.2")
        store.grant(one)
        store.grant(two)
        report(store, one.id, GATEWAY, None, ["2001:db8::1", "2001:db8::2"], 0)
        cursor = store.snapshot().cursor
        left = ("10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::9")
        assert report(store, one.id, GATEWAY, None, (), 5, left=left)
        (change,) = store.changes(cursor, 0)
        assert (change.kind, change.session.usage.bytes) == ("updated", 5)
        assert change.session.usage.addresses == ("10.0.0.1", "2001:db8::2")
        assert store.covering("guests", "2001:db8::1") is None
        assert store.covering("guests", "2001:db8::2").grant == one
        assert store.covering("guests", "10.0.0.1").grant == one
        assert store.covering("guests", "10.0.0.2").grant == two
        report(store, two.id, GATEWAY, None, ["2001:db8::1"], 0)
        assert store.covering("guests", "2001:db8::1").grant == two

    def test_what_an_ended_session_still_used_is_its_vouchers(self, store):
        """A client must not save data by logging out before the next report."""
        store.add_vouchers([voucher(limit_bytes=1000, uses=2)])
        store.redeem("d1", "device")
        one, two = grant(voucher="d1"), grant("10.0.0.2", voucher="d1")
        store.grant(one)
        store.grant(two)
        store.end(one.id, "logout")
        assert not report(store, one.id, GATEWAY, None, (), 999, voucher="d1")
        assert store.vouchers()[0].used_bytes == 999
        assert not report(store, one.id, GATEWAY, None, (), 1, voucher="d1")
        assert store.ended(1)[0].reason == "data"
        assert store.redeem("d1", "device") is None

    def test_counters_of_a_gateway(self, store):
        one = grant()
        store.grant(one)
        report(store, one.id, GATEWAY, None, (), 9, counters={"macs a": 1 << 53, "back4 b": 2})
        report(store, one.id, GATEWAY, None, (), 9, counters={"back4 b": None})
        report(store, new_id(), OTHER_GATEWAY, None, (), 9, counters={"back4 b": 7})
        assert store.counters(GATEWAY) == {"macs a": 1 << 53}
        assert store.counters(OTHER_GATEWAY) == {"back4 b": 7}
        assert store.counters("another") == {}

    def test_gateways_that_are_no_more_are_forgotten(self, store):
        report(store, new_id(), GATEWAY, None, (), 0, counters={"back4 b": 7})
        store.heartbeat(GATEWAY)
        store.purge(time.time() - 60, 0.0)
        assert store.counters(GATEWAY)
        store.purge(time.time() + 60, 0.0)
        assert (store.counters(GATEWAY), store.gateways()) == ({}, {})

    def test_a_report_of_an_ended_session_is_told(self, store):
        one = grant()
        store.grant(one)
        store.end(one.id, "kicked")
        assert not report(store, one.id, GATEWAY, None, ["2001:db8::1"], 5)
        assert store.covering("guests", "2001:db8::1") is None
        assert not report(store, new_id(), GATEWAY, None, (), 5)

    def test_heartbeats(self, store):
        assert store.gateways() == {}
        store.heartbeat(GATEWAY)
        store.heartbeat(OTHER_GATEWAY)
        first = store.gateways()
        assert set(first) == {GATEWAY, OTHER_GATEWAY}
        assert abs(first[GATEWAY] - time.time()) < 60
        time.sleep(0.01)
        store.heartbeat(GATEWAY)
        assert store.gateways()[GATEWAY] > first[GATEWAY]

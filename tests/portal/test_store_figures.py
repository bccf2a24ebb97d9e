# SPDX-License-Identifier: MIT
"""The store's limits and figures, and what it forgets, in each implementation."""

from __future__ import annotations

import time

import pytest
from ctwsgi_portal.state import CursorLost

from tests.lab.wait import until

from .records import grant, kinds, voucher


class TestLimitsAndFigures:
    def test_attempts_are_counted_by_key(self, store):
        assert [store.attempt("k", 2, 60) for _ in range(4)] == [True, True, False, False]
        assert store.attempt("other", 2, 60)

    def test_the_window_is_fixed_from_the_first_attempt(self, store):
        began = time.monotonic()
        assert store.attempt("k", 1, 1.0)
        while True:
            allowed = store.attempt("k", 1, 1.0)
            if time.monotonic() >= began + 1.0:
                break  # the window may be over
            assert not allowed
            time.sleep(0.05)
        until(lambda: allowed or store.attempt("k", 1, 1.0), "the next window")

    def test_destinations_most_often_first(self, store):
        today = time.time()  # before midnight, if it comes now
        store.count_destinations({"198.18.0.1:80": 2, "[2001:db8::1]:80": 1})
        store.count_destinations({"[2001:db8::1]:80": 4, "198.18.0.3:80": 1})
        assert store.destinations(today, 2) == [("[2001:db8::1]:80", 5), ("198.18.0.1:80", 2)]
        assert store.destinations(today + 2 * 86400, 2) == []

    def test_destinations_are_bounded(self, store):
        today = time.time()
        for part in range(12):
            store.count_destinations({f"198.18.{part}.{i // 4}:{i % 4}": 1 for i in range(1000)})
        found = dict(store.destinations(today, 100_000))
        assert sum(found.values()) == 12_000
        assert len(found) <= 10_001
        assert found[""] >= 2000

    def test_history_counts_grants_by_hour(self, store):
        hour = time.time() // 3600 * 3600
        for i in range(3):
            store.grant(grant(f"10.0.0.{i}"))
        store.grant(grant("10.0.0.4", granted_at=hour - 7200))
        assert store.history(hour - 7200)[0] == (hour - 7200, 1)
        assert sum(n for _, n in store.history(hour)) == 3

    def test_purge_forgets_old_changes(self, store):
        store.grant(grant("10.0.0.1"))
        old = store.snapshot().cursor
        store.grant(grant("10.0.0.2"))
        newest = store.snapshot().cursor
        time.sleep(0.01)
        store.purge(time.time(), 0)
        with pytest.raises(CursorLost):
            store.changes(old, 0)
        assert store.changes(newest, 0) == []
        assert store.snapshot().cursor == newest
        store.grant(grant("10.0.0.3"))
        assert kinds(store.changes(newest, 0)) == [("granted", "10.0.0.3", None)]

    def test_purge_forgets_old_sessions_vouchers_and_destinations(self, store):
        now = time.time()
        one = grant()
        store.grant(one)
        store.end(one.id, "logout")
        standing = grant("10.0.0.2")
        store.grant(standing)
        store.count_destinations({"198.18.0.1:80": 1})
        store.add_vouchers([
            voucher("fresh"),
            voucher("expired", expires_at=now - 5),
            voucher("over", first_used_at=now - 100, lifetime=60),
            voucher("going", first_used_at=now - 100, lifetime=600, expires_at=now - 50),
        ])  # fmt: skip
        assert store.purge(now - 3600, now) == 0
        assert len(store.ended(5)) == 1
        assert len(store.vouchers()) == 4
        assert store.purge(time.time() + 0.001, now) == 1
        assert store.ended(5) == []
        assert {v.digest for v in store.vouchers()} == {"fresh", "going"}
        assert [s.grant for s in store.snapshot().sessions] == [standing]
        assert len(store.destinations(now, 5)) == 1
        store.purge(now, now + 2 * 86400)
        assert store.destinations(now, 5) == []
        assert sum(n for _, n in store.history(now - 7200)) == 2

# SPDX-License-Identifier: MIT
"""The store's vouchers, in each implementation."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from .records import GATEWAY, grant, voucher
from .stores import report


class TestVouchers:
    def test_they_come_back_as_they_were_added(self, store):
        made = [voucher("d1"), voucher("d2", limit_bytes=5, uses=3)]
        store.add_vouchers(made)
        assert store.vouchers() == made

    def test_all_or_none(self, store):
        store.add_vouchers([voucher("d1")])
        with pytest.raises(ValueError, match="already"):
            store.add_vouchers([voucher("d2"), voucher("d1")])
        assert [v.digest for v in store.vouchers()] == ["d1"]

    def test_one_device_may_come_back_another_not(self, store):
        store.add_vouchers([voucher()])
        first = store.redeem("d1", "guests/10.0.0.1")
        assert (first.devices, first.digest) == (1, "d1")
        assert abs(first.first_used_at - time.time()) < 60
        assert store.redeem("d1", "guests/10.0.0.2") is None
        assert store.redeem("d1", "guests/10.0.0.1") == first

    def test_as_many_devices_as_uses(self, store):
        store.add_vouchers([voucher(uses=2)])
        assert store.redeem("d1", "a").devices == 1
        assert store.redeem("d1", "b").devices == 2
        assert store.redeem("d1", "c") is None

    def test_unknown(self, store):
        assert store.redeem("nobody", "a") is None

    def test_expired_before_its_first_use(self, store):
        store.add_vouchers([voucher(expires_at=time.time() - 1)])
        assert store.redeem("d1", "a") is None

    def test_its_time_runs_from_the_first_use(self, store):
        now = time.time()
        store.add_vouchers([
            voucher("over", uses=9, first_used_at=now - 61, lifetime=60),
            voucher("going", uses=9, first_used_at=now - 50, lifetime=60, expires_at=now - 1),
        ])  # fmt: skip
        assert store.redeem("over", "a") is None
        assert store.redeem("going", "a").first_used_at == pytest.approx(now - 50)

    def test_revoking_one_ends_its_sessions(self, store):
        store.add_vouchers([voucher("d1"), voucher("d2")])
        store.grant(grant("10.0.0.1", voucher="d1", method="voucher"))
        store.grant(grant("10.0.0.2", voucher="d2", method="voucher"))
        store.grant(grant("10.0.0.3"))
        assert store.revoke(digest="d1") == 1
        assert store.covering("guests", "10.0.0.1") is None
        assert store.covering("guests", "10.0.0.2") is not None
        assert store.ended(1)[0].reason == "revoked"
        assert store.redeem("d1", "a") is None
        assert [v.revoked for v in store.vouchers()] == [True, False]

    def test_revoking_a_batch(self, store):
        store.add_vouchers([voucher("d1"), voucher("d2"), voucher("d3", label="other")])
        assert store.revoke(label="batch") == 2
        assert store.revoke(label="batch") == 0
        assert store.revoke(digest="nobody") == 0
        assert store.redeem("d3", "a") is not None
        # Grants without a voucher cannot be revoked by a label.
        store.grant(grant("10.0.0.3"))
        assert store.revoke(label="") == 0
        assert store.covering("guests", "10.0.0.3") is not None

    def test_its_data_is_shared_by_sessions_and_devices(self, store):
        store.add_vouchers([voucher(limit_bytes=1000, uses=2)])
        one = grant("10.0.0.1", voucher="d1", method="voucher", limit_bytes=1000)
        two = grant("10.0.0.2", voucher="d1", method="voucher", limit_bytes=1000)
        store.grant(one)
        store.grant(two)
        assert report(store, one.id, GATEWAY, None, (), 600)
        assert store.vouchers()[0].used_bytes == 600
        assert store.redeem("d1", "a").used_bytes == 600
        assert not report(store, two.id, GATEWAY, None, (), 400)
        assert store.snapshot().sessions == ()
        assert {e.reason for e in store.ended(5)} == {"data"}
        assert store.redeem("d1", "a") is None

    def test_two_processes_do_not_share_one_use(self, store, store_url):
        store.add_vouchers([voucher(f"d{i}") for i in range(50)])
        code = (
            "import sys; from ctwsgi_portal.state import open_store; s = open_store(sys.argv[1]);"
            "print(sum(s.redeem(f'd{i}', sys.argv[2]) is not None for i in range(50)))"
        )
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", code, store_url, device], stdout=subprocess.PIPE
            )
            for device in ("a", "b", "c")
        ]
        won = [int(p.communicate(timeout=60)[0]) for p in processes]
        assert sum(won) == 50, won

# SPDX-License-Identifier: MIT
"""Grants, vouchers and gateways with which the tests fill a store."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from ctwsgi_portal.state.records import Change, Grant, Voucher, new_id

GATEWAY, OTHER_GATEWAY = "gw1", "gw2"


def grant(
    address: str = "10.0.0.1", *, lifetime: float = 60.0, network: str = "guests", **fields: Any
) -> Grant:
    now = time.time()
    values: dict[str, Any] = {
        "id": new_id(),
        "network": network,
        "address": address,
        "mac": None,
        "granted_at": now,
        "expires_at": now + lifetime,
        "limit_bytes": None,
        "method": "click",
    }
    return Grant(**{**values, **fields})


def voucher(digest: str = "d1", **fields: Any) -> Voucher:
    now = time.time()
    values: dict[str, Any] = {
        "digest": digest,
        "label": "batch",
        "lifetime": 3600,
        "limit_bytes": None,
        "uses": 1,
        "expires_at": now + 3600,
        "created_at": now,
    }
    return Voucher(**{**values, **fields})


def kinds(changes: Iterable[Change]) -> list[tuple[str, str, str | None]]:
    return [(c.kind, c.session.grant.address, c.reason) for c in changes]

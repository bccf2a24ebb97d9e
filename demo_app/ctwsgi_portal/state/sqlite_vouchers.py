# SPDX-License-Identifier: MIT
"""Vouchers in SQLite. Each method runs inside the caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from .records import Voucher

_FIELDS = (
    "digest, label, lifetime, limit_bytes, uses, expires_at, created_at, revoked, first_used_at, "
    "(SELECT count(*) FROM voucher_devices d WHERE d.digest = v.digest), used_bytes"
)


class Vouchers:
    """The tables vouchers and voucher_devices."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def add(self, vouchers: Sequence[Voucher]) -> None:
        """ValueError when the store has one of them already."""
        rows = [
            (v.digest, v.label, v.lifetime, v.limit_bytes, v.uses, v.expires_at, v.created_at,
             v.revoked, v.first_used_at, v.used_bytes)
            for v in vouchers
        ]  # fmt: skip
        try:
            self._db.executemany("INSERT INTO vouchers VALUES (?,?,?,?,?,?,?,?,?,?)", rows)
        except sqlite3.IntegrityError:
            raise ValueError("one of these vouchers is there already") from None

    def all(self) -> list[Voucher]:
        return self._select("ORDER BY created_at, rowid", ())

    def get(self, digest: str) -> Voucher | None:
        found = self._select("WHERE digest = ?", (digest,))
        return found[0] if found else None

    def revoke(self, digest: str, label: str) -> list[str]:
        """Returns the digests of the vouchers that this call revokes."""
        field, value = ("digest", digest) if digest else ("label", label)
        rows = self._db.execute(
            f"UPDATE vouchers SET revoked = 1 WHERE {field} = ? AND NOT revoked RETURNING digest",
            (value,),
        )
        return [row[0] for row in rows.fetchall()]

    def redeem(self, digest: str, device: str, now: float) -> Voucher | None:
        voucher = self.get(digest)
        if voucher is None or not _redeemable(voucher, now):
            return None
        known = self._db.execute(
            "SELECT 1 FROM voucher_devices WHERE digest = ? AND device = ?", (digest, device)
        ).fetchone()
        if known is None:
            if voucher.devices >= voucher.uses:
                return None
            self._db.execute("INSERT INTO voucher_devices VALUES (?, ?)", (digest, device))
        self._db.execute(
            "UPDATE vouchers SET first_used_at = coalesce(first_used_at, ?) WHERE digest = ?",
            (now, digest),
        )
        return self.get(digest)

    def use(self, digest: str, added: int) -> bool:
        """Counts bytes. True when the voucher's data are used up."""
        self._db.execute(
            "UPDATE vouchers SET used_bytes = used_bytes + ? WHERE digest = ?", (added, digest)
        )
        voucher = self.get(digest)
        return voucher is not None and _empty(voucher)

    def purge(self, before: float) -> None:
        """Deletes those that could not be redeemed after `before`, with their devices."""
        over = (
            "SELECT digest FROM vouchers WHERE "
            "coalesce(first_used_at + lifetime, expires_at) < :before"
        )
        for table in ("voucher_devices", "vouchers"):
            self._db.execute(f"DELETE FROM {table} WHERE digest IN ({over})", {"before": before})

    def _select(self, where: str, values: tuple[Any, ...]) -> list[Voucher]:
        rows = self._db.execute(f"SELECT {_FIELDS} FROM vouchers v {where}", values)
        return [Voucher(*row) for row in rows]


def _empty(voucher: Voucher) -> bool:
    return voucher.limit_bytes is not None and voucher.used_bytes >= voucher.limit_bytes


def _redeemable(voucher: Voucher, now: float) -> bool:
    """Whether it may be redeemed, apart from the number of devices."""
    if voucher.revoked or _empty(voucher):
        return False
    if voucher.first_used_at is None:
        return now < voucher.expires_at
    return now < voucher.first_used_at + voucher.lifetime

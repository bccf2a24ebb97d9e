# SPDX-License-Identifier: MIT
"""Limits, heartbeats and figures in SQLite. Each method runs inside the caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from .store import MOST_DESTINATIONS

HOUR, DAY = 3600, 86400


class Figures:
    """The tables gateways, batches, counters, attempts, hours and destinations."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def heartbeat(self, gateway: str, now: float) -> None:
        self._db.execute("INSERT OR REPLACE INTO gateways VALUES (?, ?)", (gateway, now))

    def gateways(self) -> dict[str, float]:
        return dict(self._db.execute("SELECT name, seen FROM gateways ORDER BY name").fetchall())

    def begin(self, gateway: str, batch: str) -> bool:
        """False when the gateway's last batch had the same id."""
        row = self._db.execute("SELECT id FROM batches WHERE gateway = ?", (gateway,)).fetchone()
        self._db.execute("INSERT OR REPLACE INTO batches VALUES (?, ?)", (gateway, batch))
        return row is None or str(row[0]) != batch

    def count_on(self, gateway: str, counters: Mapping[str, int | None]) -> None:
        """Sets the gateway's counters to these values."""
        for name, count in counters.items():
            if count is None:
                self._db.execute(
                    "DELETE FROM counters WHERE gateway = ? AND name = ?", (gateway, name)
                )
            else:
                self._db.execute(
                    "INSERT OR REPLACE INTO counters VALUES (?, ?, ?)", (gateway, name, count)
                )

    def counters(self, gateway: str) -> dict[str, int]:
        rows = self._db.execute("SELECT name, bytes FROM counters WHERE gateway = ?", (gateway,))
        return dict(rows.fetchall())

    def forget_gateways(self, before: float) -> None:
        """Forgets those without a later heartbeat. Their counters' names are clients' addresses."""
        silent = "(SELECT name FROM gateways WHERE seen < :before)"
        for table in ("batches", "counters"):
            self._db.execute(f"DELETE FROM {table} WHERE gateway IN {silent}", {"before": before})
        self._db.execute("DELETE FROM gateways WHERE seen < :before", {"before": before})

    def attempt(self, key: str, limit: int, window: float, now: float) -> bool:
        self._db.execute("DELETE FROM attempts WHERE until <= ?", (now,))
        row = self._db.execute(
            "INSERT INTO attempts VALUES (?, ?, 1) "
            "ON CONFLICT (key) DO UPDATE SET count = count + 1 RETURNING count",
            (key, now + window),
        ).fetchone()
        return bool(row[0] <= limit)

    def count_grant(self, at: float) -> None:
        self._db.execute(
            "INSERT INTO hours VALUES (?, 1) ON CONFLICT (hour) DO UPDATE SET grants = grants + 1",
            (int(at // HOUR),),
        )

    def history(self, since: float) -> list[tuple[float, int]]:
        rows = self._db.execute(
            "SELECT hour, grants FROM hours WHERE hour >= ? ORDER BY hour", (int(since // HOUR),)
        )
        return [(float(hour * HOUR), grants) for hour, grants in rows]

    def count_destinations(self, counts: Mapping[str, int], now: float) -> None:
        day = int(now // DAY)
        (told_apart,) = self._db.execute(
            "SELECT count(*) FROM destinations WHERE day = ?", (day,)
        ).fetchone()
        for destination, count in counts.items():
            known = self._db.execute(
                "SELECT 1 FROM destinations WHERE day = ? AND destination = ?", (day, destination)
            ).fetchone()
            if known is None:
                told_apart += 1
            name = destination if known or told_apart <= MOST_DESTINATIONS else ""
            self._db.execute(
                "INSERT INTO destinations VALUES (?, ?, ?) "
                "ON CONFLICT (day, destination) DO UPDATE SET count = count + excluded.count",
                (day, name, count),
            )

    def destinations(self, since: float, limit: int) -> list[tuple[str, int]]:
        return self._db.execute(
            "SELECT destination, sum(count) AS asked FROM destinations WHERE day >= ? "
            "GROUP BY destination ORDER BY asked DESC, destination LIMIT ?",
            (int(since // DAY), limit),
        ).fetchall()

    def purge(self, before: float) -> None:
        self._db.execute("DELETE FROM destinations WHERE (day + 1) * ? <= ?", (DAY, before))

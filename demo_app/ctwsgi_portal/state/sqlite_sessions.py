# SPDX-License-Identifier: MIT
"""Sessions and their changes in SQLite. Each method runs inside the caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

from .encode import decode, encode
from .records import Change, Ended, EndReason, Grant, Kind, Report, Session, Usage
from .store import CursorLost

KEPT_CHANGES = 20_000
"""How many changes an agent may be behind before it has to take a snapshot."""

_GRANT = (
    "id, network, address, mac, granted_at, expires_at, limit_bytes, method, who, voucher, bytes"
)


class Sessions:
    """The tables sessions, addresses, changes and ended."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def add(self, grant: Grant, now: float) -> None:
        """Adds a session, and ends the one that has its address."""
        covered = self._one(
            "SELECT id FROM addresses WHERE network = ? AND address = ?",
            (grant.network, grant.address),
        )
        if covered:
            self.end(covered[0], "replaced", now)
        self._db.execute(
            f"INSERT INTO sessions ({_GRANT}) VALUES (?,?,?,?,?,?,?,?,?,?,0)",
            (
                grant.id, grant.network, grant.address, grant.mac, grant.granted_at,
                grant.expires_at, grant.limit_bytes, grant.method, grant.who, grant.voucher,
            ),
        )  # fmt: skip
        self._db.execute(
            "INSERT INTO addresses VALUES (?, ?, ?, 0)", (grant.network, grant.address, grant.id)
        )
        self._log("granted", Session(grant, Usage(0, (grant.address,))), now)

    def end(self, grant_id: str, reason: EndReason, now: float) -> bool:
        session = self.get(grant_id)
        if session is None:
            return False
        self._db.execute("DELETE FROM addresses WHERE id = ?", (grant_id,))
        self._db.execute("DELETE FROM sessions WHERE id = ?", (grant_id,))
        self._db.execute("INSERT INTO ended VALUES (?, ?, ?)", (now, reason, encode(session)))
        self._log("ended", session, now, reason)
        return True

    def end_all(self, ids: Iterable[str], reason: EndReason, now: float) -> None:
        for grant_id in list(ids):
            self.end(grant_id, reason, now)

    def expire(self, now: float) -> None:
        """Ends the sessions whose time is over, each at the time when it was over."""
        rows = self._db.execute(
            "SELECT id, expires_at FROM sessions WHERE expires_at <= ? ORDER BY expires_at", (now,)
        ).fetchall()
        for grant_id, expires_at in rows:
            self.end(grant_id, "time", expires_at)

    def any_expired(self, now: float) -> bool:
        return self._one("SELECT 1 FROM sessions WHERE expires_at <= ?", (now,)) is not None

    def get(self, grant_id: str) -> Session | None:
        found = self._sessions("WHERE id = ?", (grant_id,))
        return found[0] if found else None

    def of_voucher(self, digest: str) -> list[str]:
        """The ids of a voucher's sessions."""
        rows = self._db.execute(
            "SELECT id FROM sessions WHERE voucher = ? AND voucher != ''", (digest,)
        )
        return [row[0] for row in rows]

    def covering(self, network: str, address: str, now: float) -> Session | None:
        where = (
            "WHERE expires_at > ? AND id = "
            "(SELECT id FROM addresses WHERE network = ? AND address = ?)"
        )
        found = self._sessions(where, (now, network, address))
        return found[0] if found else None

    def all(self) -> list[Session]:
        """All sessions, by two queries."""
        addresses: dict[str, list[str]] = {}
        rows = self._db.execute("SELECT id, address FROM addresses ORDER BY id, place, address")
        for grant_id, address in rows:
            addresses.setdefault(grant_id, []).append(address)
        rows = self._db.execute(f"SELECT {_GRANT} FROM sessions ORDER BY granted_at, id")
        return [Session(Grant(*row[:-1]), Usage(row[-1], tuple(addresses[row[0]]))) for row in rows]

    def ended(self, limit: int) -> list[Ended]:
        rows = self._db.execute(
            "SELECT session, ended_at, reason FROM ended "
            "ORDER BY ended_at DESC, rowid DESC LIMIT ?",
            (limit,),
        )
        return [Ended(decode(text), at, reason) for text, at, reason in rows]

    def purge(self, before: float) -> int:
        """Returns how many ended sessions. Changes go as well, because they name clients."""
        self._db.execute("DELETE FROM changes WHERE at < ?", (before,))
        return self._db.execute("DELETE FROM ended WHERE ended_at < ?", (before,)).rowcount

    def report(self, session: Session, report: Report, now: float) -> None:
        """Stores what an agent saw. The caller checks the limits."""
        grant = session.grant
        self._db.execute(
            "UPDATE sessions SET bytes = bytes + ?, mac = coalesce(?, mac) WHERE id = ?",
            (report.added, report.mac, grant.id),
        )
        for address in report.left:
            if address != grant.address:
                self._db.execute(
                    "DELETE FROM addresses WHERE network = ? AND address = ? AND id = ?",
                    (grant.network, address, grant.id),
                )
        for address in report.addresses:
            self._claim(grant, address, now)
        after = self.get(grant.id)
        assert after is not None
        if (after.grant.mac, after.usage.addresses) != (grant.mac, session.usage.addresses):
            self._log("updated", after, now)

    def _claim(self, grant: Grant, address: str, now: float) -> None:
        """Moves the address to this session, unless another session was granted with it."""
        holder = self._one(
            "SELECT s.id, s.address FROM addresses a JOIN sessions s ON s.id = a.id "
            "WHERE a.network = ? AND a.address = ?",
            (grant.network, address),
        )
        if holder and (holder[0] == grant.id or holder[1] == address):
            return
        self._db.execute(
            "INSERT OR REPLACE INTO addresses SELECT ?, ?, ?, 1 + max(place) FROM addresses "
            "WHERE id = ?",
            (grant.network, address, grant.id, grant.id),
        )
        if holder:
            loser = self.get(holder[0])
            assert loser is not None
            self._log("updated", loser, now)

    # changes

    def newest(self) -> str:
        """The cursor of the last change."""
        return f"{self._epoch()}-{self._number()}"

    def since(self, cursor: str) -> list[Change]:
        """The changes after `cursor`. May raise CursorLost."""
        epoch, _, number = cursor.rpartition("-")
        newest = self._number()
        (oldest,) = self._one("SELECT min(number) FROM changes", ()) or (None,)
        if epoch != self._epoch() or not number.isdecimal():
            raise CursorLost(cursor)
        if not (oldest or newest + 1) - 1 <= int(number) <= newest:
            raise CursorLost(cursor)
        rows = self._db.execute(
            "SELECT number, kind, session, reason FROM changes WHERE number > ? ORDER BY number",
            (int(number),),
        )
        return [Change(f"{epoch}-{n}", kind, decode(text), why) for n, kind, text, why in rows]

    def _log(
        self, kind: Kind, session: Session, now: float, reason: EndReason | None = None
    ) -> None:
        self._db.execute(
            "INSERT INTO changes (at, kind, reason, session) VALUES (?, ?, ?, ?)",
            (now, kind, reason, encode(session)),
        )
        self._db.execute("DELETE FROM changes WHERE number <= ?", (self._number() - KEPT_CHANGES,))

    def _number(self) -> int:
        """The number of the last change, deleted ones included: AUTOINCREMENT keeps it."""
        row = self._one("SELECT seq FROM sqlite_sequence WHERE name = 'changes'", ())
        return int(row[0]) if row else 0

    def _epoch(self) -> str:
        (epoch,) = self._one("SELECT epoch FROM meta", ()) or ("",)
        return str(epoch)

    def _sessions(self, where: str, values: tuple[Any, ...]) -> list[Session]:
        """Reads a few sessions. It makes a query for the addresses of each."""
        rows = self._db.execute(f"SELECT {_GRANT} FROM sessions {where}", values).fetchall()
        return [Session(Grant(*row[:-1]), Usage(row[-1], self._addresses(row[0]))) for row in rows]

    def _addresses(self, grant_id: str) -> tuple[str, ...]:
        rows = self._db.execute(
            "SELECT address FROM addresses WHERE id = ? ORDER BY place, address", (grant_id,)
        )
        return tuple(row[0] for row in rows)

    def _one(self, statement: str, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._db.execute(statement, values).fetchone()
        return row

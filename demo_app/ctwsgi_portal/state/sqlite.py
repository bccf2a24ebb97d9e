# SPDX-License-Identifier: MIT
"""The state in one SQLite file, for a portal and an agent on one machine.

In WAL mode readers do not wait for writers, and processes share the file. With synchronous=NORMAL
writes survive a crash of the process. A power failure may lose the last of them; the portal then
asks those clients again. The next call ends the sessions whose time is over.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from .records import Change, Ended, EndReason, Grant, Report, Session, Snapshot, Voucher
from .sqlite_figures import Figures
from .sqlite_schema import SCHEMA, VERSION
from .sqlite_sessions import Sessions
from .sqlite_vouchers import Vouchers
from .store import StoreError

_POLL = 0.05
"""Seconds between two queries of changes(). A query takes a few microseconds, and a grant has to
reach a gateway within a second.
"""

_BUSY = 5.0
"""Seconds to wait for the transaction of another process, which takes milliseconds."""


_creating = threading.Lock()


def _create(path: str) -> None:
    """Makes an empty file that only its owner can read, where there is none.

    It must not open a file that exists: a process that closes a descriptor of a file loses all its
    POSIX locks on the file, those of its SQLite connections as well. Another process could then
    take itself for the last user and delete the write-ahead log, and this process would see no
    further change (sqlite.org/howtocorrupt.html, 2.2). The lock keeps other threads from connecting
    to the new file before its descriptor is closed.
    """
    with _creating, suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


class SQLiteStore:
    """A store.Store with one connection, which one caller uses at a time."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.RLock()
        try:
            os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
            _create(path)
            self._db = sqlite3.connect(
                path, timeout=_BUSY, isolation_level=None, check_same_thread=False
            )
            self._db.executescript(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
                "PRAGMA secure_delete=ON"  # overwrites what is deleted
            )
        except (OSError, sqlite3.Error) as e:
            raise StoreError(f"sqlite:{path}: {e}; may this user write there?") from None
        with self._transaction():
            self._prepare()
        self._sessions = Sessions(self._db)
        self._vouchers = Vouchers(self._db)
        self._figures = Figures(self._db)

    def _prepare(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in SCHEMA:
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version={VERSION}")
        elif version != VERSION:
            raise StoreError(
                f"sqlite:{self._path}: is of version {version}, this program's is {VERSION}; "
                "move the file away"
            )

    @contextmanager
    def _transaction(self) -> Iterator[float]:
        """A write transaction, one at a time over all processes. Yields the time."""
        try:
            with self._lock:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield time.time()
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
        except sqlite3.Error as e:
            raise StoreError(f"sqlite:{self._path}: {e}") from None

    @contextmanager
    def _current(self) -> Iterator[float]:
        """A write transaction that first ends the sessions whose time is over."""
        with self._transaction() as now:
            self._sessions.expire(now)
            yield now

    @contextmanager
    def _reading(self) -> Iterator[float]:
        """A read transaction: it sees one moment, and does not wait for writers."""
        try:
            with self._lock:
                self._db.execute("BEGIN")
                try:
                    yield time.time()
                finally:
                    self._db.execute("COMMIT")
        except sqlite3.Error as e:
            raise StoreError(f"sqlite:{self._path}: {e}") from None

    # sessions

    def grant(self, grant: Grant) -> None:
        with self._current() as now:
            self._sessions.add(grant, now)
            self._figures.count_grant(grant.granted_at)

    def end(self, grant_id: str, reason: EndReason) -> bool:
        with self._current() as now:
            return self._sessions.end(grant_id, reason, now)

    def covering(self, network: str, address: str) -> Session | None:
        with self._reading() as now:
            return self._sessions.covering(network, address, now)

    def snapshot(self) -> Snapshot:
        with self._current():
            return Snapshot(self._sessions.newest(), tuple(self._sessions.all()))

    def changes(self, cursor: str, timeout: float) -> list[Change]:
        deadline = time.monotonic() + timeout
        while True:
            with self._reading() as now:
                due = self._sessions.any_expired(now)
                found = self._sessions.since(cursor)
            if due:
                with self._current():
                    found = self._sessions.since(cursor)
            left = deadline - time.monotonic()
            if found or left <= 0:
                return found
            time.sleep(min(_POLL, left))

    def ended(self, limit: int) -> list[Ended]:
        with self._current():
            return self._sessions.ended(limit)

    # agents

    def report(self, gateway: str, batch: str, reports: Sequence[Report]) -> list[str]:
        if not reports:
            return []
        with self._current() as now:
            if self._figures.begin(gateway, batch):
                for each in reports:
                    self._figures.count_on(gateway, each.counters)
                    self._take(each, now)
            return [each.grant_id for each in reports if not self._sessions.get(each.grant_id)]

    def _take(self, report: Report, now: float) -> None:
        session = self._sessions.get(report.grant_id)
        voucher = session.grant.voucher if session else report.voucher
        if session:
            self._sessions.report(session, report, now)
        if voucher and self._vouchers.use(voucher, report.added):
            self._sessions.end_all(self._sessions.of_voucher(voucher), "data", now)
        limit = session.grant.limit_bytes if session else None
        if session and limit is not None and session.usage.bytes + report.added >= limit:
            self._sessions.end(report.grant_id, "data", now)

    def counters(self, gateway: str) -> dict[str, int]:
        with self._reading():
            return self._figures.counters(gateway)

    def heartbeat(self, gateway: str) -> None:
        with self._transaction() as now:
            self._figures.heartbeat(gateway, now)

    def gateways(self) -> dict[str, float]:
        with self._reading():
            return self._figures.gateways()

    # vouchers

    def add_vouchers(self, vouchers: Sequence[Voucher]) -> None:
        with self._transaction():
            self._vouchers.add(vouchers)

    def vouchers(self) -> list[Voucher]:
        with self._reading():
            return self._vouchers.all()

    def revoke(self, *, digest: str = "", label: str = "") -> int:
        with self._current() as now:
            revoked = self._vouchers.revoke(digest, label)
            for one in revoked:
                self._sessions.end_all(self._sessions.of_voucher(one), "revoked", now)
            return len(revoked)

    def redeem(self, digest: str, device: str) -> Voucher | None:
        with self._transaction() as now:
            return self._vouchers.redeem(digest, device, now)

    # limits and figures

    def attempt(self, key: str, limit: int, window: float) -> bool:
        with self._transaction() as now:
            return self._figures.attempt(key, limit, window, now)

    def count_destinations(self, counts: Mapping[str, int]) -> None:
        with self._transaction() as now:
            self._figures.count_destinations(counts, now)

    def destinations(self, since: float, limit: int) -> list[tuple[str, int]]:
        with self._reading():
            return self._figures.destinations(since, limit)

    def history(self, since: float) -> list[tuple[float, int]]:
        with self._reading():
            return self._figures.history(since)

    def purge(self, sessions_before: float, destinations_before: float) -> int:
        with self._current():
            self._vouchers.purge(sessions_before)
            self._figures.purge(destinations_before)
            self._figures.forget_gateways(sessions_before)
            return self._sessions.purge(sessions_before)

    def advice(self) -> list[str]:
        return []

    def close(self) -> None:
        with self._lock:
            self._db.close()

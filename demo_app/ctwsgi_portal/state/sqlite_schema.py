# SPDX-License-Identifier: MIT
"""The tables of sqlite.py. Every change to them raises VERSION."""

from __future__ import annotations

VERSION = 3

SCHEMA = (
    "CREATE TABLE meta (epoch TEXT NOT NULL)",
    # A new file begins a new history, in which cursors of another file must not be valid.
    "INSERT INTO meta VALUES (hex(randomblob(8)))",
    """CREATE TABLE sessions (
        id TEXT PRIMARY KEY, network TEXT NOT NULL, address TEXT NOT NULL, mac TEXT,
        granted_at REAL NOT NULL, expires_at REAL NOT NULL, limit_bytes INTEGER,
        method TEXT NOT NULL, who TEXT NOT NULL, voucher TEXT NOT NULL,
        bytes INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID""",
    "CREATE INDEX sessions_expire ON sessions (expires_at)",
    "CREATE INDEX sessions_voucher ON sessions (voucher) WHERE voucher != ''",
    """CREATE TABLE addresses (
        network TEXT NOT NULL, address TEXT NOT NULL,
        id TEXT NOT NULL REFERENCES sessions, place INTEGER NOT NULL,
        PRIMARY KEY (network, address)
    ) WITHOUT ROWID""",
    "CREATE INDEX addresses_id ON addresses (id, place)",
    """CREATE TABLE changes (
        number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, kind TEXT NOT NULL,
        reason TEXT, session TEXT NOT NULL
    )""",
    "CREATE TABLE ended (ended_at REAL NOT NULL, reason TEXT NOT NULL, session TEXT NOT NULL)",
    "CREATE INDEX ended_at ON ended (ended_at)",
    """CREATE TABLE vouchers (
        digest TEXT PRIMARY KEY, label TEXT NOT NULL, lifetime INTEGER NOT NULL,
        limit_bytes INTEGER, uses INTEGER NOT NULL, expires_at REAL NOT NULL,
        created_at REAL NOT NULL, revoked INTEGER NOT NULL, first_used_at REAL,
        used_bytes INTEGER NOT NULL
    )""",
    """CREATE TABLE voucher_devices (
        digest TEXT NOT NULL, device TEXT NOT NULL, PRIMARY KEY (digest, device)
    ) WITHOUT ROWID""",
    "CREATE TABLE gateways (name TEXT PRIMARY KEY, seen REAL NOT NULL)",
    "CREATE TABLE batches (gateway TEXT PRIMARY KEY, id TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE counters (
        gateway TEXT NOT NULL, name TEXT NOT NULL, bytes INTEGER NOT NULL,
        PRIMARY KEY (gateway, name)
    ) WITHOUT ROWID""",
    "CREATE TABLE attempts (key TEXT PRIMARY KEY, until REAL NOT NULL, count INTEGER NOT NULL)",
    "CREATE INDEX attempts_until ON attempts (until)",
    "CREATE TABLE hours (hour INTEGER PRIMARY KEY, grants INTEGER NOT NULL)",
    """CREATE TABLE destinations (
        day INTEGER NOT NULL, destination TEXT NOT NULL, count INTEGER NOT NULL,
        PRIMARY KEY (day, destination)
    ) WITHOUT ROWID""",
)

# SPDX-License-Identifier: MIT
"""The state in Redis, for many portals and many gateways.

Writes are calls of one Lua script (redis.lua), which makes each atomic. Changes are a stream: an
agent waits for its next entry, and continues from its cursor when it was away. Redis needs
`appendonly yes`, or a restart loses the grants (demo_app/docs/scale.md). In a cluster all keys
share one slot.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import redis
from redis.cluster import RedisCluster

from .records import Change, Ended, EndReason, Grant, Report, Session, Snapshot, Usage, Voucher
from .redis_advice import advice
from .store import MOST_DESTINATIONS, CursorLost, StoreError

PREFIX = "{ctwsgi-portal}:"

_CLUSTER = "redis+cluster://"
_CHANGES = f"{PREFIX}changes"
_SESSION = ("grant", "mac", "bytes", "addresses")
_CHUNK = 1000
_PATIENCE = 5.0
"""Seconds to wait for the answer to a command that does not block."""
_LONGEST = 3.0
"""Seconds of one blocking read. It is less than _PATIENCE, the timeout of a dead connection."""

_LUA = Path(__file__).with_name("redis.lua").read_text()

T = TypeVar("T")


class RedisStore:
    """A store.Store that several threads may use at once."""

    def __init__(self, url: str) -> None:
        # Messages show the URL without user and password.
        self._shown = url.split("@")[-1] if "@" in url else url
        options = {
            "decode_responses": True,
            "socket_timeout": _PATIENCE,
            "socket_connect_timeout": _PATIENCE,
            "health_check_interval": 30,
        }
        try:
            if url.startswith(_CLUSTER):
                plain = url.replace(_CLUSTER, "redis://", 1)
                self._redis: Any = RedisCluster.from_url(plain, **options)
            else:
                self._redis = redis.Redis.from_url(url, **options)
        except (redis.RedisError, ValueError, OSError) as e:
            raise self._error(e) from None
        self._script = self._redis.register_script(_LUA)
        self._position()

    # sessions

    def grant(self, grant: Grant) -> None:
        limit = "" if grant.limit_bytes is None else grant.limit_bytes
        self._run(
            *("grant", grant.id, json.dumps(asdict(grant)), grant.network, grant.address),
            *(repr(grant.granted_at), repr(grant.expires_at), limit, grant.voucher),
            grant.mac or "",
        )

    def end(self, grant_id: str, reason: EndReason) -> bool:
        return bool(self._run("end", grant_id, reason))

    def covering(self, network: str, address: str) -> Session | None:
        grant_id = self._ask(lambda r: r.get(f"{PREFIX}a:{network} {address}"))
        if not grant_id:
            return None
        found = self._ask(lambda r: r.hmget(f"{PREFIX}s:{grant_id}", _SESSION))
        session = _session(found) if found[0] else None
        return session if session and session.grant.expires_at > time.time() else None

    def snapshot(self) -> Snapshot:
        # The cursor is read first: what changes during the rest comes again as a change.
        epoch, number, *_ = self._position()
        ids = self._ask(lambda r: r.zrange(f"{PREFIX}granted", 0, -1))
        sessions: list[Session] = []
        for start in range(0, len(ids), _CHUNK):
            rows = json.loads(self._run("sessions", *ids[start : start + _CHUNK]))
            sessions += [_made(*row) for row in rows]
        return Snapshot(f"{epoch}-{number}", tuple(sessions))

    def changes(self, cursor: str, timeout: float) -> list[Change]:
        deadline = time.monotonic() + timeout
        while True:
            after, wait = self._check(cursor)
            left = deadline - time.monotonic()
            # Redis takes 0 as no time limit.
            block = max(1, round(1000 * min(max(left, 0), wait, _LONGEST)))
            found = self._read(after, block)
            if found:
                epoch = cursor.rpartition("-")[0]
                return [_change(epoch, *entry) for entry in _entries(found)]
            if left <= 0:
                return []

    def ended(self, limit: int) -> list[Ended]:
        self._position()
        rows = self._ask(lambda r: r.zrevrange(f"{PREFIX}ended", 0, limit - 1, withscores=True))
        return [_ended(text) for text, _ in rows]

    # agents

    def report(self, gateway: str, batch: str, reports: Sequence[Report]) -> list[str]:
        rows = [_row(each) for each in reports]
        return list(self._run("report", gateway, batch, json.dumps(rows))) if rows else []

    def counters(self, gateway: str) -> dict[str, int]:
        found = self._ask(lambda r: r.hgetall(f"{PREFIX}counters:{gateway}"))
        return {name: int(count) for name, count in found.items()}

    def heartbeat(self, gateway: str) -> None:
        self._ask(lambda r: r.hset(f"{PREFIX}gateways", gateway, repr(time.time())))

    def gateways(self) -> dict[str, float]:
        found = self._ask(lambda r: r.hgetall(f"{PREFIX}gateways"))
        return {name: float(found[name]) for name in sorted(found)}

    # vouchers

    def add_vouchers(self, vouchers: Sequence[Voucher]) -> None:
        if vouchers and not self._run("add_vouchers", json.dumps([_fields(v) for v in vouchers])):
            raise ValueError("one of these vouchers is there already")

    def vouchers(self) -> list[Voucher]:
        return [_voucher(row) for row in self._run("vouchers")]

    def revoke(self, *, digest: str = "", label: str = "") -> int:
        return int(self._run("revoke", digest, label))

    def redeem(self, digest: str, device: str) -> Voucher | None:
        found = self._run("redeem", digest, device)
        return _voucher(found) if found else None

    # limits and figures

    def attempt(self, key: str, limit: int, window: float) -> bool:
        return bool(self._run("attempt", key, limit, max(1, round(1000 * window))))

    def count_destinations(self, counts: Mapping[str, int]) -> None:
        if counts:
            self._run("count_destinations", MOST_DESTINATIONS, json.dumps(list(counts.items())))

    def destinations(self, since: float, limit: int) -> list[tuple[str, int]]:
        days = self._ask(lambda r: r.zrangebyscore(f"{PREFIX}days", int(since // 86400), "+inf"))
        asked: dict[str, int] = {}
        for day in days:
            key = f"{PREFIX}day:{day}"
            for name, count in self._scores(key):
                asked[name] = asked.get(name, 0) + int(count)
        return sorted(asked.items(), key=lambda item: (-item[1], item[0]))[:limit]

    def history(self, since: float) -> list[tuple[float, int]]:
        found = self._ask(lambda r: r.hgetall(f"{PREFIX}hours"))
        hours = sorted((int(hour), int(count)) for hour, count in found.items())
        return [(hour * 3600.0, count) for hour, count in hours if hour >= since // 3600]

    def purge(self, sessions_before: float, destinations_before: float) -> int:
        return int(self._run("purge", repr(sessions_before), repr(destinations_before)))

    def advice(self) -> list[str]:
        return [f"{self._shown}: {each}" for each in self._ask(lambda r: list(advice(r)))]

    def close(self) -> None:
        self._redis.close()

    # how Redis is asked

    def _run(self, op: str, *arguments: Any) -> Any:
        return self._ask(lambda _: self._script(keys=[PREFIX], args=[op, *arguments]))

    def _ask(self, question: Callable[[Any], T]) -> Any:
        try:
            return question(self._redis)
        except (redis.RedisError, OSError) as e:
            raise self._error(e) from None

    def _error(self, error: Exception) -> StoreError:
        said = str(error).partition("\n")[0] or type(error).__name__
        return StoreError(f"{self._shown}: {said}; is this Redis running and reachable?")

    def _position(self) -> list[str]:
        """Epoch, newest number, oldest entry kept, the end of the next session, Redis' time."""
        found: list[str] = self._run("position", secrets.token_hex(8))
        return found

    def _check(self, cursor: str) -> tuple[int, float]:
        """The number after which to read, and the seconds until the next session ends. May raise
        CursorLost.
        """
        epoch, newest, oldest, end, now = self._position()
        its_epoch, _, number = cursor.rpartition("-")
        first = int(oldest.partition("-")[0] or int(newest) + 1)
        if its_epoch != epoch or not number.isdecimal():
            raise CursorLost(cursor)
        if not first - 1 <= int(number) <= int(newest):
            raise CursorLost(cursor)
        wait = max(0.0, float(end) - float(now)) if end else _LONGEST
        return int(number), wait

    def _read(self, after: int, block: int) -> Any:
        """The entries after a number. Waits up to `block` milliseconds for the first."""
        since = {_CHANGES: f"{after}-1"}
        return self._ask(lambda r: r.xread(since, count=_CHUNK, block=block))

    def _scores(self, key: str) -> Any:
        return self._ask(lambda r: r.zrange(key, 0, -1, withscores=True))


def _session(found: Sequence[str]) -> Session:
    text, mac, count, addresses = found
    return _made(json.loads(text), mac, int(count), addresses)


def _made(fields: dict[str, Any], mac: str, count: int, addresses: str) -> Session:
    """`fields` are the grant as it was made; the MAC may have become known since."""
    fields["mac"] = mac or None
    return Session(Grant(**fields), Usage(count, tuple(addresses.split())))


def _entries(found: Any) -> list[tuple[str, dict[str, str]]]:
    """The rows of XREAD's answer, which is a list in RESP2 and a mapping in RESP3."""
    streams = list(found.values()) if isinstance(found, dict) else [rows for _, rows in found]
    rows = streams[0]
    # RESP3 through redis-py wraps the rows once more.
    return rows[0] if rows and isinstance(rows[0], list) else rows


def _change(epoch: str, entry_id: str, entry: Mapping[str, str]) -> Change:
    session = _session([entry[name] for name in _SESSION])
    cursor = f"{epoch}-{entry_id.partition('-')[0]}"
    kind: Any = entry["kind"]
    reason: Any = entry["reason"] or None
    return Change(cursor, kind, session, reason)


def _ended(text: str) -> Ended:
    entry = json.loads(text)
    return Ended(_session([entry[name] for name in _SESSION]), float(entry["at"]), entry["reason"])


def _row(report: Report) -> list[Any]:
    counters = ("" if v is None else str(v) for kv in report.counters.items() for v in kv)
    return [
        *(report.grant_id, report.mac or "", str(report.added), report.voucher),
        *(list(report.addresses), list(counters), list(report.left)),
    ]


def _fields(voucher: Voucher) -> dict[str, str]:
    """All values as text, because Lua's numbers lose digits."""
    return {
        "digest": voucher.digest,
        "label": voucher.label,
        "lifetime": str(voucher.lifetime),
        "limit": "" if voucher.limit_bytes is None else str(voucher.limit_bytes),
        "uses": str(voucher.uses),
        "expires": repr(voucher.expires_at),
        "created": repr(voucher.created_at),
        "revoked": str(int(voucher.revoked)),
        "first": "" if voucher.first_used_at is None else repr(voucher.first_used_at),
        "used": str(voucher.used_bytes),
    }


def _voucher(row: Sequence[str]) -> Voucher:
    digest, label, lifetime, limit, uses, expires, created, revoked, first, devices, used = row
    return Voucher(
        digest=digest,
        label=label,
        lifetime=int(lifetime),
        limit_bytes=int(limit) if limit else None,
        uses=int(uses),
        expires_at=float(expires),
        created_at=float(created),
        revoked=revoked == "1",
        first_used_at=float(first) if first else None,
        devices=int(devices),
        used_bytes=int(used),
    )

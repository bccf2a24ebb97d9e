# SPDX-License-Identifier: MIT
"""Opens a store by its URL, whose scheme chooses the implementation."""

from __future__ import annotations

from .store import Store, StoreError

SCHEMES = ("sqlite", "redis", "rediss", "redis+cluster", "unix")


def check_url(url: str) -> str:
    """`url` itself; ValueError when open_store() does not know its scheme."""
    scheme, _, rest = url.partition(":")
    if scheme not in SCHEMES or not rest or (scheme != "sqlite" and not rest.startswith("//")):
        raise ValueError(f"{url!r} is not a store: write sqlite:PATH or redis://HOST:PORT/0")
    return url


def open_store(url: str) -> Store:
    """`sqlite:PATH`, or `redis://HOST:PORT/DB`, `rediss://` (TLS), `redis+cluster://`,
    `unix:///PATH`. ValueError for another URL, StoreError when it cannot be opened.

    An implementation is imported when it is chosen: SQLite works without the package redis.
    """
    scheme, _, rest = check_url(url).partition(":")
    if scheme == "sqlite":
        from .sqlite import SQLiteStore

        return SQLiteStore(rest)
    try:
        from .redis import RedisStore
    except ModuleNotFoundError as e:
        if e.name != "redis":
            raise
        raise StoreError(f"{scheme}: needs the package redis: pip install redis") from None

    return RedisStore(url)

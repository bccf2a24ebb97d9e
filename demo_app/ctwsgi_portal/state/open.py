# SPDX-License-Identifier: MIT
"""A store by its URL, so that the configuration chooses the implementation in one word."""

from __future__ import annotations

from .store import Store, StoreError

SCHEMES = ("sqlite", "redis", "rediss", "redis+cluster", "unix")


def check_url(url: str) -> str:
    """The same; ValueError when it is none that open_store() knows."""
    scheme, _, rest = url.partition(":")
    if scheme not in SCHEMES or not rest or (scheme != "sqlite" and not rest.startswith("//")):
        raise ValueError(f"{url!r} is not a store: write sqlite:PATH or redis://HOST:PORT/0")
    return url


def open_store(url: str) -> Store:
    """`sqlite:PATH`, or `redis://HOST:PORT/DB`, `rediss://` (TLS), `redis+cluster://`,
    `unix:///PATH`. ValueError for another URL, StoreError when it cannot be opened.

    Implementations are imported when they are asked for: what they need may not be installed.
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

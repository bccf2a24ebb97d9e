# SPDX-License-Identifier: MIT
"""A store that is opened when it is first asked, and again until it can be.

A portal has to start, and a worker to be replaced, while Redis is away: until it is back every
question ends in StoreError, which is a page that says "soon".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from .open import check_url, open_store

if TYPE_CHECKING:
    from .store import Store


class _LateStore:
    def __init__(self, url: str) -> None:
        self._url = url
        self._store: Store | None = None

    def __getattr__(self, name: str) -> Any:
        if self._store is None:
            self._store = open_store(self._url)
        return getattr(self._store, name)

    def close(self) -> None:
        if self._store is not None:
            self._store.close()


def late_store(url: str) -> Store:
    """ValueError for what is no store's URL. Every method may raise StoreError, as always."""
    return cast("Store", _LateStore(check_url(url)))

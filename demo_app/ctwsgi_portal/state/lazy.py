# SPDX-License-Identifier: MIT
"""A store that is opened at the first call, and tried again at each call until it opens.

So a portal can start, and a worker can be replaced, while Redis is away. Until Redis is back every
call raises StoreError, and the portal's pages ask the client to try again soon.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from .open import check_url, open_store

if TYPE_CHECKING:
    from .store import Store


class _LazyStore:
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


def lazy_store(url: str) -> Store:
    """ValueError when `url` is not the URL of a store."""
    return cast("Store", _LazyStore(check_url(url)))

# SPDX-License-Identifier: MIT
"""The state of portals and gateways, behind one interface (store.py)."""

from .lazy import lazy_store
from .open import check_url, open_store
from .store import CursorLost, Store, StoreError

__all__ = ["CursorLost", "Store", "StoreError", "check_url", "lazy_store", "open_store"]

# SPDX-License-Identifier: MIT
"""The state of portals and gateways, behind one interface (store.py)."""

from .lazy import late_store
from .open import check_url, open_store
from .store import CursorLost, Store, StoreError

__all__ = ["CursorLost", "Store", "StoreError", "check_url", "late_store", "open_store"]

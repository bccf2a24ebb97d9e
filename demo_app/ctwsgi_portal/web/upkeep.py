# SPDX-License-Identifier: MIT
"""What a portal does by itself: client data that is older than [retention] says is forgotten."""

from __future__ import annotations

import gevent

from ..state import StoreError
from .portal import Portal, now

EVERY = 600
"""Seconds. Each worker does it: the second finds nothing to do."""
LEAST = 3600
"""Seconds that changes are kept for agents that are away, whatever the configuration says."""


def start_upkeep(portal: Portal) -> None:
    """In a greenlet, for as long as the process lives."""
    gevent.spawn(_run, portal)


def _run(portal: Portal) -> None:
    while True:
        upkeep(portal)
        gevent.sleep(EVERY)


def upkeep(portal: Portal) -> None:
    """Once."""
    retention = portal.config.retention
    try:
        portal.destinations.flush()
        sessions_before = now() - max(LEAST, retention.sessions)
        portal.store.purge(sessions_before, now() - retention.destinations)
    except StoreError as e:
        portal.log.error("%s", e)

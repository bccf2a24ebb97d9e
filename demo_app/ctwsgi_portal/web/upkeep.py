# SPDX-License-Identifier: MIT
"""Deletes client data that are older than [retention] allows, from time to time."""

from __future__ import annotations

import gevent

from ..state import StoreError
from .portal import Portal, now

EVERY = 600
"""Seconds. Each worker does it; those after the first find nothing to delete."""
LEAST = 3600
"""Seconds for which changes are kept at least, for agents that are away."""


def start_upkeep(portal: Portal) -> None:
    """Starts it in a greenlet."""
    gevent.spawn(_run, portal)


def _run(portal: Portal) -> None:
    while True:
        upkeep(portal)
        gevent.sleep(EVERY)


def upkeep(portal: Portal) -> None:
    """Deletes once, and writes the counts of destinations that are in memory."""
    retention = portal.config.retention
    try:
        portal.destinations.flush()
        sessions_before = now() - max(LEAST, retention.sessions)
        portal.store.purge(sessions_before, now() - retention.destinations)
    except StoreError as e:
        portal.log.error("%s", e)

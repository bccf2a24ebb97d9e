# SPDX-License-Identifier: MIT
"""Finds settings of Redis by which grants may be lost, in two answers of INFO."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import redis

_WHY = {
    "appendonly": "a restart forgets grants, and agents then cut those clients off: "
    "set appendonly yes",
    "policy": "grants may be forgotten when memory runs short: set maxmemory-policy noeviction",
}


def advice(client: Any) -> Iterator[str]:
    """A sentence for each setting that loses grants, or that this user may not see (ACL).

    `client` is redis-py's, for one server or a cluster. RedisError when Redis cannot be reached.
    """
    unseen = "cannot be seen by this user (it may not ask INFO)"
    persistence = _info(client, "persistence")
    if not persistence:
        yield f"appendonly {unseen}; without it {_WHY['appendonly']}"
    if any(not int(node.get("aof_enabled", 1)) for node in persistence):
        yield f"appendonly no: {_WHY['appendonly']}"
    memory = _info(client, "memory")
    if not memory:
        yield f"maxmemory-policy {unseen}; unless it is noeviction {_WHY['policy']}"
    policies = {str(node.get("maxmemory_policy", "noeviction")) for node in memory}
    for policy in sorted(policies - {"noeviction"}):
        yield f"maxmemory-policy {policy}: {_WHY['policy']}"


def _info(client: Any, section: str) -> list[Mapping[str, Any]]:
    """The answer of each node; an empty list when this user may not ask."""
    try:
        found = client.info(section)
    except redis.exceptions.NoPermissionError:
        return []
    # The client of a cluster answers with a mapping from nodes to their answers.
    several = found and all(isinstance(value, dict) for value in found.values())
    return list(found.values()) if several else [found]

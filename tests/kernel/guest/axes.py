# SPDX-License-Identifier: MIT
"""The matrix's axes, which combinations exist, and a small set of them that covers all pairs.

A case is (load, impairment, offloads, place). `cover` picks, always in the same way, cases until
every pair of values of any two axes was in one of them, and beyond that every triple of impairment,
offloads and place: what a packet meets on its way depends on these three together.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

from .injector import Injector
from .places import PLACES

Combination = tuple[str, str, str, str]

LOAD, IMPAIRMENT, OFFLOADS, PLACE = range(4)

LOADS = (
    "small",
    "1mb",
    "10mb",
    "keepalive",
    "parallel",
    "close",
    "half-close",
    "server-first",
)
IMPAIRMENTS = (
    "clean",
    "loss1",
    "loss5",
    "reorder",
    "duplicate",
    "data-lost",
    "ack-lost",
    "header-lost",
)
OFFLOADS_ = ("on", "off", "gro")


def exists(combination: Combination, injector: Injector) -> bool:
    """Whether there is such a thing."""
    load, impairment, offloads, place = combination
    local = PLACES[place].local
    return not (
        # No wire lies between injector and listener.
        (impairment == "header-lost" and local)
        # No data, and a header only where it is written without data.
        or (load == "close" and impairment == "data-lost")
        or (load == "close" and impairment == "header-lost" and not injector.per_connection)
        # lo joins nothing.
        or (offloads == "gro" and PLACES[place].output)
    )


def combinations(injector: Injector, places: Sequence[str]) -> list[Combination]:
    """All that exist."""
    every = itertools.product(LOADS, IMPAIRMENTS, OFFLOADS_, places)
    return [each for each in every if exists(each, injector)]


def _goals(combination: Combination, groups: Iterable[tuple[int, ...]]) -> set[tuple[object, ...]]:
    return {(axes, *(combination[axis] for axis in axes)) for axes in groups}


def cover(every: Sequence[Combination]) -> list[Combination]:
    """The cases of the full run, the same each time: greedy, and among equals the values that were
    chosen least so far, so that no load is everybody's filler.
    """
    groups = [*itertools.combinations(range(4), 2), (IMPAIRMENT, OFFLOADS, PLACE)]
    goals = {each: _goals(each, groups) for each in every}
    missing = set().union(*goals.values())
    used: Counter[str] = Counter()
    chosen = []
    while missing:
        best = max(every, key=lambda e: (len(goals[e] & missing), -sum(used[v] for v in e)))
        missing -= goals[best]
        used.update(best)
        chosen.append(best)
    return chosen

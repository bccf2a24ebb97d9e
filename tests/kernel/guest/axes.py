# SPDX-License-Identifier: MIT
"""The matrix's axes, which combinations exist, and a small set of them that covers all pairs.

A combination is (load, impairment, offloads, place). `cover` chooses combinations until every pair
of values of two axes is in one of them, and also every triple of impairment, offloads and place,
because these three together decide what happens to a packet on its way.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

from .injector import InjectorUnderTest
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


def exists(combination: Combination, injector: InjectorUnderTest) -> bool:
    """Whether the combination is possible and tests something."""
    load, impairment, offloads, place = combination
    local = PLACES[place].local
    return not (
        # No wire lies between injector and listener.
        (impairment == "header-lost" and local)
        # This load has no data to lose. Only a header for the connection is written without data.
        or (load == "close" and impairment == "data-lost")
        or (load == "close" and impairment == "header-lost" and not injector.per_connection)
        # lo has no GRO.
        or (offloads == "gro" and PLACES[place].output)
    )


def combinations(injector: InjectorUnderTest, places: Sequence[str]) -> list[Combination]:
    every = itertools.product(LOADS, IMPAIRMENTS, OFFLOADS_, places)
    return [each for each in every if exists(each, injector)]


def _goals(combination: Combination, groups: Iterable[tuple[int, ...]]) -> set[tuple[object, ...]]:
    return {(axes, *(combination[axis] for axis in axes)) for axes in groups}


def cover(every: Sequence[Combination]) -> list[Combination]:
    """The combinations of the full run, always the same ones.

    Greedy: the next one covers the most that is missing. Among equals it is the one whose values
    were chosen least often, so that the extra combinations do not all have the same load.
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

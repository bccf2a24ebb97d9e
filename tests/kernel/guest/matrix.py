# SPDX-License-Identifier: MIT
"""The cases that are combinations of load, impairment, offloads and place."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from .axes import combinations, cover
from .case import Case, Trial
from .impair import IMPAIRMENTS
from .injector import InjectorUnderTest
from .loads import Load, matrix_loads
from .places import PLACES

PLAIN = 0.4
"""The share of the cases that belongs to the plain run."""

PLACE_NAMES = ("gateway", "dnat", "lo", "redirect", "gateway6", "dnat6")


async def _body(load: Load, trial: Trial) -> None:
    # The first frame was lost, and the client probes with a segment from the middle of it. Before
    # the server has acknowledged a frame, such a segment might return a SYN cookie: it is dropped.
    if trial.case.impairment.listener_side and not trial.injector.per_connection:
        trial.may_drop = ("drop_early",)
    await trial.talk(load)


def cases(injector: InjectorUnderTest, full: bool) -> Iterator[Case]:
    """Cases that cover all pairs. The first ones, which cover most pairs, are the plain run."""
    places = [name for name in PLACE_NAMES if name in injector.places]
    loads = matrix_loads(full)
    chosen = cover(combinations(injector, places))
    for number, combination in enumerate(chosen):
        load, impairment, offloads, place = combination
        yield Case(
            "matrix",
            f"{injector.name}/{place}/{load}/{impairment}/{offloads}",
            injector,
            PLACES[place],
            partial(_body, loads[load]),
            offloads,
            IMPAIRMENTS[impairment],
            plain=number < PLAIN * len(chosen),
            limit=120,
        )

# SPDX-License-Identifier: MIT
"""The cases that are combinations of load, impairment, offloads and place."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from .axes import combinations, cover
from .case import Case, Trial
from .impair import IMPAIRMENTS
from .injector import Injector
from .loads import Load, matrix_loads
from .places import PLACES

PLAIN = 0.4
"""The part of them that the plain run takes."""

PLACE_NAMES = ("gateway", "dnat", "lo", "redirect", "gateway6", "dnat6")


async def _body(load: Load, trial: Trial) -> None:
    # Behind a first frame that was lost, a probe in the middle of it: before the server has
    # acknowledged one it might bring a SYN cookie back, and is dropped. The client sends it again.
    if trial.case.impairment.listener_side and not trial.injector.per_connection:
        trial.may_drop = ("drop_early",)
    await trial.talk(load)


def cases(injector: Injector, full: bool) -> Iterator[Case]:
    """All pairs. The plain run has the first ones, which cover most of them."""
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

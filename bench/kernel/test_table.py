# SPDX-License-Identifier: MIT
"""The tables of the bench: medians, ratios to a base, and targets."""

from __future__ import annotations

import pytest

from .plan import Aim
from .table import Results, Spread, judge
from .test_sample import taken


def test_spread_is_median_and_quartiles() -> None:
    assert Spread.of([5, 1, 2, 3, 4]) == Spread(2, 3, 4)


def test_ratio_holds_each_sample_against_its_own_round() -> None:
    # In the second round both cost twice as much: the ratio stays the same.
    costs = {"plain": (100, 200), "ctproxy": (125, 250), "haproxy": (300, 600)}
    results = Results(
        taken(side, cost, number)
        for side, pair in costs.items()
        for number, cost in enumerate(pair)
    )
    assert results.ratio("ctproxy", "connect") == Spread(0.8, 0.8, 0.8)
    assert results.share("ctproxy", "connect") == Spread(0.125, 0.125, 0.125)


def test_a_side_is_held_against_its_own_base() -> None:
    costs = {"plain": 100, "plain-1k": 200, "ebpf-1k": 250}
    results = Results(taken(side, cost) for side, cost in costs.items())
    assert results.ratio("ebpf-1k", "connect") == Spread(0.8, 0.8, 0.8)


@pytest.mark.parametrize(
    ("aim", "reached"),
    [
        (Aim("ctproxy", "connect", least=0.8), True),
        (Aim("ctproxy", "connect", least=0.81), False),
        (Aim("ctproxy", "connect", most=0.125), True),
        (Aim("ctproxy", "connect", most=0.12), False),
        (Aim("ctframe", "connect", least=0.1), None),
    ],
)
def test_a_target_is_judged(aim: Aim, reached: bool | None) -> None:
    results = Results(taken(s, c) for s, c in (("plain", 100), ("ctproxy", 125), ("haproxy", 300)))
    assert judge(results, aim)["reached"] is reached


def test_a_range_that_includes_the_aim_reaches_it() -> None:
    costs = [(100, 101), (100, 104), (100, 108)]
    results = Results(
        taken(side, cost, number)
        for number, pair in enumerate(costs)
        for side, cost in zip(("plain", "ctproxy"), pair, strict=True)
    )
    assert judge(results, Aim("ctproxy", "connect", least=0.97))["reached"]
    assert not judge(results, Aim("ctproxy", "connect", least=0.99))["reached"]

# SPDX-License-Identifier: MIT
"""The matrix covers all pairs of its axes, and the suites have enough cases."""

from __future__ import annotations

import itertools

import pytest

from . import matrix, named
from .axes import IMPAIRMENTS, LOADS, combinations, cover
from .case import OFFLOADS
from .impair import IMPAIRMENTS as KNOWN
from .injector import Ctframe, Ctproxy, InjectorUnderTest
from .loads import matrix_loads

INJECTORS = [InjectorUnderTest(), Ctframe("x.ko"), Ctproxy("x.ko")]


def _places(injector: InjectorUnderTest) -> list[str]:
    return [place for place in matrix.PLACE_NAMES if place in injector.places]


def _pairs(each: tuple[str, ...]) -> set[tuple[object, ...]]:
    return {(one, two, each[one], each[two]) for one, two in itertools.combinations(range(4), 2)}


@pytest.mark.parametrize("injector", INJECTORS, ids=lambda i: i.name)
def test_every_pair_that_exists_is_in_a_case(injector: InjectorUnderTest) -> None:
    every = combinations(injector, _places(injector))
    chosen = cover(every)
    assert set().union(*map(_pairs, every)) == set().union(*map(_pairs, chosen))
    assert chosen == cover(every)
    assert len(chosen) == len(set(chosen))


@pytest.mark.parametrize("injector", INJECTORS, ids=lambda i: i.name)
def test_every_value_is_in_the_plain_run(injector: InjectorUnderTest) -> None:
    names = [case.name.split("/")[1:] for case in matrix.cases(injector, False) if case.plain]
    for values in (_places(injector), LOADS, IMPAIRMENTS, OFFLOADS):
        assert set(values) <= {value for name in names for value in name}


def test_the_axes_are_known() -> None:
    assert set(LOADS) == set(matrix_loads(True))
    assert set(IMPAIRMENTS) <= set(KNOWN)


@pytest.mark.parametrize("injector", INJECTORS[1:], ids=lambda i: i.name)
def test_there_are_at_least_120_cases(injector: InjectorUnderTest) -> None:
    combined = list(matrix.cases(injector, True))
    by_name = list(named.cases(injector))
    names = [(case.suite, case.name) for case in combined + by_name]
    assert len(names) == len(set(names))
    assert len(names) >= 120

# SPDX-License-Identifier: MIT
"""The smoke run has a case for each of its patterns, and reaches what its docstring promises."""

from __future__ import annotations

from . import matrix, named, smoke
from .attacks import cases as attacks
from .case import Case
from .injector import Ctframe, Ctproxy, Ebpf, InjectorUnderTest

INJECTORS: tuple[InjectorUnderTest, ...] = (Ctframe("x.ko"), Ctproxy("x.ko"), Ebpf())


def _cases() -> list[Case]:
    return [
        case
        for injector in INJECTORS
        for case in (
            *matrix.cases(injector, False),
            *named.cases(injector),
            *attacks.cases(injector, False),
        )
    ]


def test_every_pattern_has_a_case_of_its_own() -> None:
    chosen = [(case.suite, case.name) for case in smoke.chosen(_cases())]
    assert len(chosen) == len(smoke.SMOKE), set(smoke.SMOKE) - set(chosen)
    assert len(chosen) == len(set(chosen))


def test_every_injector_meets_losses_attacks_and_each_of_its_places() -> None:
    chosen = list(smoke.chosen(_cases()))
    for injector in INJECTORS:
        own = [case for case in chosen if case.injector.name == injector.name]
        assert {"matrix", "ends", "attacks"} <= {case.suite for case in own}
        assert {"clean", "header-lost", "loss5"} <= {case.impairment.name for case in own}
        assert {place for place in matrix.PLACE_NAMES if place in injector.places} <= {
            case.place.name for case in own
        }

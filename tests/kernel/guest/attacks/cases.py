# SPDX-License-Identifier: MIT
"""The suite `attacks`: every attack at every place, with three settings of listener and
injector."""

from __future__ import annotations

from collections.abc import Iterator

from tests.kernel.guest.case import Case
from tests.kernel.guest.injector import Helper, InjectorUnderTest
from tests.kernel.guest.places import PLACES

from . import (
    cases_cookie,
    cases_ecn,
    cases_ended,
    cases_header,
    cases_honest,
    cases_packet,
    cases_syn,
    walk,
)
from .attack import attack

SUITE = "attacks"

PLACE_NAMES = ("gateway", "dnat", "gateway6", "dnat6")

NAMED = {
    name: function
    for module in (
        *(cases_honest, cases_ecn, cases_header, cases_syn, cases_ended, cases_cookie),
        cases_packet,
    )
    for name, function in module.CASES.items()
}

COOKIES = "net.ipv4.tcp_syncookies"

SETTINGS = {
    # The listener always uses SYN cookies, which helps an attacker most.
    "": ({COOKIES: 2}, False, ("gateway", "dnat", "gateway6")),
    # It never uses them.
    "kept/": ({COOKIES: 0}, False, ("gateway",)),
    # SYN cookies, and the injector signs.
    "signed/": ({COOKIES: 2}, True, ("gateway",)),
}
"""By prefix of the case's name: the listener's sysctls, whether the injector signs, and the places
of the plain run."""


def cases(injector: InjectorUnderTest, full: bool) -> Iterator[Case]:
    """All attacks on one injector; there are none on the control."""
    if injector.name == "none":
        return
    for place in PLACE_NAMES:
        if place not in injector.places:
            continue
        for setting, (sysctls, signed, plain) in SETTINGS.items():
            if signed and not injector.per_connection:
                continue
            functions = NAMED | walk.cases(full) | ({} if setting else cases_cookie.SLOW)
            if isinstance(injector, Helper) and not setting:
                functions |= cases_cookie.WALL_CLOCK
            if injector.outlives_conntrack and not setting:
                functions |= cases_cookie.OTHER_KINDS
            for name, function in functions.items():
                yield Case(
                    SUITE,
                    f"{injector.name}/{place}/{setting}{name}",
                    injector,
                    PLACES[place],
                    attack(function, sysctls, signed),
                    plain=place in plain and name not in cases_cookie.SLOW,
                    limit=600,
                )

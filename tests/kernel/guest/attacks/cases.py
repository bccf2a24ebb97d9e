# SPDX-License-Identifier: MIT
"""The suite `attacks`: every attack at every place, in three worlds."""

from __future__ import annotations

from collections.abc import Iterator

from tests.kernel.guest.case import Case
from tests.kernel.guest.injector import Injector
from tests.kernel.guest.places import PLACES

from . import (
    cases_cookie,
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
    for module in (cases_honest, cases_header, cases_syn, cases_ended, cases_cookie, cases_packet)
    for name, function in module.CASES.items()
}

COOKIES = "net.ipv4.tcp_syncookies"

WORLDS = {
    # The listener keeps no SYN, which is the most that an attacker can wish for.
    "": ({COOKIES: 2}, False, ("gateway", "dnat", "gateway6")),
    # It keeps each, and nothing is a cookie.
    "kept/": ({COOKIES: 0}, False, ("gateway",)),
    # As the first, and the injector signs.
    "signed/": ({COOKIES: 2}, True, ("gateway",)),
}
"""Settings of the listener's, whether the injector has a key, and the plain run's places."""


def cases(injector: Injector, full: bool) -> Iterator[Case]:
    """All of one injector's; the control has no attackers."""
    if injector.name == "none":
        return
    for place in PLACE_NAMES:
        if place not in injector.places:
            continue
        for world, (sysctls, signed, plain) in WORLDS.items():
            if signed and not injector.per_connection:
                continue
            functions = NAMED | walk.cases(full) | ({} if world else cases_cookie.SLOW)
            if injector.outlives_conntrack and not world:
                functions |= cases_cookie.OTHER_KINDS
            for name, function in functions.items():
                yield Case(
                    SUITE,
                    f"{injector.name}/{place}/{world}{name}",
                    injector,
                    PLACES[place],
                    attack(function, sysctls, signed),
                    plain=place in plain and name not in cases_cookie.SLOW,
                    limit=600,
                )

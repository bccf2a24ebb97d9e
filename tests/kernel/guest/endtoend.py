# SPDX-License-Identifier: MIT
"""End to end: real servers behind the injectors, which log and answer with the origin that they
see.

curl visits `ctwsgi serve tests.lab.greeting:app`. Many connections at once visit nginx and haproxy,
also over wires that lose packets. All clients dial addresses that exist nowhere.

    cases            endtoend.py
    our server       endtoend_serve.py     frames, and signed headers
    nginx, haproxy   endtoend_peers.py     headers, signed or not
    check, demo      endtoend_commands.py
    rules, processes endtoend_field.py
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial

from .case import Case, Trial
from .endtoend_commands import check_says, demo_shows
from .endtoend_peers import PEERS, asks_peer
from .endtoend_serve import guard_stands, no_forgery, visits
from .impair import IMPAIRMENTS
from .injector import InjectorUnderTest
from .places import PLACES

Body = Callable[[Trial], Awaitable[None]]

PLACE_NAMES = ("gateway", "dnat", "gateway6", "dnat6")
"""The listener on another host, and on the injector's own, over IPv4 and IPv6."""

MANY = 50
"""Connections at once to nginx and haproxy."""

_LIMIT = 240.0
"""Seconds. The first case waits for Python and gevent, which start in 15 s under emulation."""


def cases(injector: InjectorUnderTest, full: bool) -> Iterator[Case]:
    """Our server for both formats, nginx and haproxy for headers, `check` and the demo for the
    module."""
    if injector.name == "none":
        return

    def case(place: str, name: str, body: Body, wires: str = "clean", plain: bool = True) -> Case:
        return Case(
            "end-to-end",
            f"{injector.name}/{place}/{name}",
            injector,
            PLACES[place],
            body,
            impairment=IMPAIRMENTS[wires],
            plain=plain,
            limit=_LIMIT,
        )

    for place in (name for name in PLACE_NAMES if name in injector.places):
        yield case(place, "visits", visits)
        yield case(place, "guard", guard_stands, plain=PLACES[place].version == 4)
        yield case(place, "forged", no_forgery, plain=place == "gateway")
    if injector.name != "ebpf":
        yield case("gateway", "check", check_says, plain=injector.name == "ctproxy")
    if not injector.per_connection:
        return
    if injector.name == "ctproxy":
        yield case("gateway", "demo", demo_shows, plain=False)
    for number, peer in enumerate(PEERS):
        for place in ("gateway", "gateway6"):
            for signed in (False, True):
                name = f"{peer.name}{'-signed' if signed else ''}"
                yield case(place, name, partial(asks_peer, peer, 2, signed))
                # The plain run loses packets once for each server and once for each IP version.
                plain = signed and place == ("gateway", "gateway6")[number]
                many = partial(asks_peer, peer, MANY, signed)
                yield case(place, f"{name}-loss5", many, "loss5", plain)

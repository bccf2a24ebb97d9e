# SPDX-License-Identifier: MIT
"""End to end: whole servers behind the injectors, and what they say of where clients were going.

`ctwsgi serve tests.lab.greeting:app` is visited by curl, nginx and haproxy by many connections
over wires that lose packets. All dial addresses that exist nowhere.

    cases            endtoend.py
    our server       endtoend_serve.py     frames, and signed headers
    others' servers  endtoend_peers.py     headers, signed or not
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
from .injector import Injector
from .places import PLACES

Body = Callable[[Trial], Awaitable[None]]

PLACE_NAMES = ("gateway", "dnat", "gateway6", "dnat6")
"""The two deployments, both families: the listener on another host, and on the module's own."""

MANY = 50
"""Connections at once, over wires that lose one packet of twenty."""

_LIMIT = 120.0
"""Seconds. The first case waits for a Python with gevent, which takes 15 under emulation."""


def cases(injector: Injector, full: bool) -> Iterator[Case]:
    """Our server for each format, the others for headers; what asks for the module for it alone."""
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
                # The plain run loses packets once per peer and once per family.
                plain = signed and place == ("gateway", "gateway6")[number]
                many = partial(asks_peer, peer, MANY, signed)
                yield case(place, f"{name}-loss5", many, "loss5", plain)

# SPDX-License-Identifier: MIT
"""A case, and what its body can use: the lab, the counters, conversations."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .impair import IMPAIRMENTS, Impairment, Wires
from .injector import InjectorUnderTest
from .judge import judge_talk, require
from .kernel import Log, conntrack, until
from .lab import Lab
from .loads import Load
from .net import Namespace
from .places import Place
from .talk import PLAIN, Overtaken, Sockets, Talk
from .tcp_md5 import signing_socket

OFFLOADS = {
    # What a veth pair has from the start: big segments cross the wires whole.
    "on": {"tx": True, "sg": True, "tso": True, "gso": True, "gro": False},
    # Every packet on the wire fits the MTU and has a linear buffer.
    "off": {"gro": False, "gso": False, "tso": False, "sg": False, "tx": False},
    # Packets of the MTU's size on the wire, which the receiving device joins again.
    "gro": {"gso": False, "tso": False, "sg": False, "tx": False, "gro": True},
}
"""Features in the order in which ethtool can switch them: tso needs sg, sg needs tx."""

AGAIN = 5
"""How often a conversation that raised Overtaken is repeated."""


@dataclass(frozen=True)
class Case:
    """A body, with the place and the wires that it runs over."""

    suite: str
    name: str
    injector: InjectorUnderTest
    place: Place
    body: Callable[[Trial], Awaitable[None]]
    offloads: str = "on"
    impairment: Impairment = IMPAIRMENTS["clean"]
    plain: bool = True
    """Part of the run without --full and --smoke."""
    limit: float = 120.0
    """Seconds for the body. Only a failure takes so long."""


class Session:
    """The lab and the state that all cases share."""

    def __init__(self) -> None:
        self.lab = Lab()
        self.wires = Wires(self.lab)
        self.log = Log()
        self.offloads = ""
        self._md5_socket = signing_socket()
        self.ports = _ports()


def _ports() -> Iterator[int]:
    # Each connection has a port of its own. After 50,000 connections the first ports are free.
    yield from itertools.cycle(range(10_000, 60_000))


@dataclass
class Trial:
    """One run of a case. The body gets all that it uses from here."""

    session: Session
    case: Case
    facts: dict[str, Any] = field(default_factory=dict)
    drops_expected: bool = False
    """The injector may drop packets: the case hits a limit, or sends what must be refused."""
    may_drop: tuple[str, ...] = ()
    """Counters that may rise: for the client such a drop is an ordinary loss."""
    invalid_expected: bool = False
    """Conntrack may count packets INVALID, because the case sends such packets."""
    connections: int = 0
    """Connections so far."""

    talks: list[Talk] = field(default_factory=list)
    """All talks of `prepare`."""

    def __post_init__(self) -> None:
        self.before = self.counters()
        self._conntrack = conntrack(self.gateway)

    @property
    def lab(self) -> Lab:
        return self.session.lab

    @property
    def place(self) -> Place:
        return self.case.place

    @property
    def injector(self) -> InjectorUnderTest:
        """The injector under test; the control writes nothing."""
        return self.case.injector

    @property
    def gateway(self) -> Namespace:
        """The namespace of NAT, conntrack and injector."""
        return self.lab.gateway

    @property
    def client(self) -> Namespace:
        """The namespace of the clients."""
        return self.lab.spaces[self.place.client]

    @property
    def listener(self) -> Namespace:
        """The namespace of the listener."""
        return self.lab.spaces[self.place.listener]

    def counters(self) -> dict[str, int]:
        """The injector's counters now."""
        return self.case.injector.counters(self.session.lab.gateway)

    def risen(self) -> dict[str, int]:
        """By how much the injector's counters rose since the case began, without zeros."""
        now = self.counters()
        gained = {name: value - self.before.get(name, 0) for name, value in now.items()}
        return {name: value for name, value in gained.items() if value}

    async def until_dropped(self, *reasons: str, count: int = 1) -> None:
        """Waits until the injector has dropped `count` packets for one of these reasons."""

        def dropped() -> bool:
            return sum(self.risen().get(reason, 0) for reason in reasons) >= count

        await until(dropped, f"{' or '.join(reasons)} rises by {count}")

    def invalid(self) -> int:
        """Packets that conntrack counted INVALID since the case began."""
        return conntrack(self.gateway)["invalid"] - self._conntrack["invalid"]

    def prepare(
        self,
        load: Load,
        *,
        selected: bool = True,
        sockets: Sockets = PLAIN,
        place: Place | None = None,
        ports: Iterator[int] | None = None,
        injector: InjectorUnderTest | None = None,
    ) -> Talk:
        """A talk that has not begun. With `selected=False` it goes past the injector."""
        place = place or self.place
        writer = (injector or self.injector) if selected else None
        talk = Talk(place, self.lab.spaces, load, writer, ports or self.session.ports, sockets)
        self.talks.append(talk)
        return talk

    def unfinished(self) -> str:
        """The open connections of the last talk, or one of them, for a failure's text."""
        pairs = self.talks[-1].pairs.values() if self.talks else []
        open_ = [p for p in pairs if not (p.client.ended and p.accepted and p.accepted.ended)]
        return f"{len(open_)} of {len(pairs)} connections unfinished: {open_[0]}" if open_ else ""

    async def talk(self, load: Load, **options: Any) -> Talk:
        """Holds the conversation and judges it; the options are those of `prepare`.

        A conversation that raised Overtaken is repeated, because it did not show anything.
        """
        for attempt in range(AGAIN + 1):
            talk = self.prepare(load, **options)
            try:
                await talk.run()
                break
            except Overtaken as e:
                self.facts["overtaken"] = self.facts.get("overtaken", 0) + 1
                require(attempt < AGAIN, f"overtaken again and again, last {e}")
        judge_talk(talk)
        self.connections += load.connections
        return talk

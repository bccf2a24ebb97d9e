# SPDX-License-Identifier: MIT
"""A case, and the hand that its body has on the lab."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .impair import IMPAIRMENTS, Impairment, Wires
from .injector import Injector
from .judge import judge_talk, require
from .kernel import Log, conntrack, until
from .lab import Lab
from .loads import Load
from .net import Namespace
from .places import Place
from .signing import signing
from .talk import PLAIN, Overtaken, Sockets, Talk

OFFLOADS = {
    # What a veth pair has from the start: big segments cross the wires whole.
    "on": {"tx": True, "sg": True, "tso": True, "gso": True, "gro": False},
    # Every packet on the wire fits the MTU, and lies in one piece.
    "off": {"gro": False, "gso": False, "tso": False, "sg": False, "tx": False},
    # Packets of the MTU's size on the wire, joined again by whoever receives them.
    "gro": {"gso": False, "tso": False, "sg": False, "tx": False, "gro": True},
}
"""Features in the order in which they can be switched: tso needs sg, sg needs tx."""

AGAIN = 5
"""How often a conversation that was Overtaken is held again."""


@dataclass(frozen=True)
class Case:
    """What is run, where, over which wires, and for how long at most."""

    suite: str
    name: str
    injector: Injector
    place: Place
    body: Callable[[Trial], Awaitable[None]]
    offloads: str = "on"
    impairment: Impairment = IMPAIRMENTS["clean"]
    plain: bool = True
    """Part of the plain run."""
    limit: float = 60.0
    """Seconds for the body; only a failure takes so long."""


class Session:
    """What outlives the cases."""

    def __init__(self) -> None:
        self.lab = Lab()
        self.wires = Wires(self.lab)
        self.log = Log()
        self.offloads = ""
        self._signing = signing()
        self.ports = _ports()


def _ports() -> Iterator[int]:
    # Each connection has a port of its own; after 50,000 of them the first ones are long free.
    yield from itertools.cycle(range(10_000, 60_000))


@dataclass
class Trial:
    """One run of a case. Its body uses nothing else."""

    session: Session
    case: Case
    facts: dict[str, Any] = field(default_factory=dict)
    drops_expected: bool = False
    """The module may drop: a bound is hit on purpose, or what it has to refuse is sent."""
    may_drop: tuple[str, ...] = ()
    """For these reasons the module may drop: what is dropped is ordinary loss for the client."""
    invalid_expected: bool = False
    """Conntrack may call packets INVALID: such are sent on purpose."""
    connections: int = 0
    """Held so far."""

    talks: list[Talk] = field(default_factory=list)
    """All that were prepared."""

    def __post_init__(self) -> None:
        self.before = self.counters()
        self._conntrack = conntrack(self.gateway)

    @property
    def lab(self) -> Lab:
        """The namespaces."""
        return self.session.lab

    @property
    def place(self) -> Place:
        """The deployment."""
        return self.case.place

    @property
    def injector(self) -> Injector:
        """Who writes; the control writes nothing."""
        return self.case.injector

    @property
    def gateway(self) -> Namespace:
        """Where NAT, conntrack and injector are."""
        return self.lab.gateway

    @property
    def client(self) -> Namespace:
        """Where the clients are."""
        return self.lab.spaces[self.place.client]

    @property
    def listener(self) -> Namespace:
        """Where the listener is."""
        return self.lab.spaces[self.place.listener]

    def counters(self) -> dict[str, int]:
        """The injector's."""
        return self.case.injector.counters(self.session.lab.gateway)

    def risen(self) -> dict[str, int]:
        """What the injector's counters have gained since the case began, without the zeros."""
        now = self.counters()
        gained = {name: value - self.before.get(name, 0) for name, value in now.items()}
        return {name: value for name, value in gained.items() if value}

    async def until_dropped(self, *reasons: str, count: int = 1) -> None:
        """Until the injector has dropped that many packets for one of these reasons."""

        def dropped() -> bool:
            return sum(self.risen().get(reason, 0) for reason in reasons) >= count

        await until(dropped, f"{' or '.join(reasons)} rises by {count}")

    def invalid(self) -> int:
        """Packets that conntrack has called INVALID since the case began."""
        return conntrack(self.gateway)["invalid"] - self._conntrack["invalid"]

    def prepare(
        self,
        load: Load,
        *,
        selected: bool = True,
        sockets: Sockets = PLAIN,
        place: Place | None = None,
        ports: Iterator[int] | None = None,
        injector: Injector | None = None,
    ) -> Talk:
        """A talk that has not begun. Not selected: the control, which no injector touches."""
        place = place or self.place
        writer = (injector or self.injector) if selected else None
        talk = Talk(place, self.lab.spaces, load, writer, ports or self.session.ports, sockets)
        self.talks.append(talk)
        return talk

    def unfinished(self) -> str:
        """The connections of the last talk that have not ended, or one of them, for people."""
        pairs = self.talks[-1].pairs.values() if self.talks else []
        open_ = [p for p in pairs if not (p.client.ended and p.accepted and p.accepted.ended)]
        return f"{len(open_)} of {len(pairs)} connections unfinished: {open_[0]}" if open_ else ""

    async def talk(self, load: Load, **options: Any) -> Talk:
        """Holds the conversation and judges it; the options are those of `prepare`.

        One that was Overtaken is held again, a few times: what it should show did not happen.
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

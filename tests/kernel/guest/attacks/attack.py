# SPDX-License-Identifier: MIT
"""Runs one attack: makes wire, server and peers, and judges what the listener accepted."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ctwsgi.wire.auth import KeyRing
from tests.kernel.guest.case import Trial
from tests.kernel.guest.judge import Failure, require
from tests.kernel.guest.kernel import flush_conntrack, unsettled, until

from .oracle import header_size, judge
from .peer import Peer
from .segment import mss
from .server import Accepted, Server
from .wire import AttackWire

KEY = "7 " + "61" * 32


SHORT_ENDS = {
    "net.ipv4.tcp_orphan_retries": 1,
    "net.ipv4.tcp_synack_retries": 1,
    "net.ipv4.tcp_fin_timeout": 1,
}
"""The attacker answers nothing at the end, so the kernel must give up its sockets soon."""


class Attack:
    """What a case's function can use."""

    def __init__(self, trial: Trial, keys: KeyRing | None) -> None:
        self.trial = trial
        self.keys = keys
        self.place = trial.place
        self.random = random.Random(trial.case.name)
        self.header = header_size(self.place.version, keys)
        """H: the size of the injector's header in bytes."""
        self.wire = AttackWire(trial.lab, self.place.version)
        self.server = Server(trial.listener, self.place.version)
        self.peers: dict[int, Peer] = {}
        self.variant = ""
        """The variant that is running, for a failure's text."""

    def close(self) -> None:
        self.wire.close()
        self.server.close()

    @property
    def framed(self) -> bool:
        """Whether the injector is ctframe."""
        return self.trial.injector.name == "ctframe"

    def peer(self, isn: int | None = None) -> Peer:
        """A peer on a port that was not used before."""
        port = next(self.trial.session.ports)
        number = self.random.getrandbits(32) if isn is None else isn
        self.peers[port] = Peer(self.wire, self.place, port, number)
        return self.peers[port]

    def settle(self) -> None:
        """Waits until kernel and application have handled all that was sent; takes the replies."""
        self.wire.fence(self.place.target)
        self.server.serve()
        for segment in self.wire.received():
            if peer := self.peers.get(segment.destination[1]):
                peer.take(segment)

    def open(self, isn: int | None = None, **fields: Any) -> Peer:
        """A peer that has sent a SYN with these `fields`, and has its SYN-ACK."""
        peer = self.peer(isn)
        peer.syn(**{"options": mss(1460), **fields})
        self.settle()
        require(peer.synack, "no SYN-ACK")
        return peer

    def establish(
        self, data: bytes = b"GET / HTTP/1.1\r\n\r\n", **fields: Any
    ) -> tuple[Peer, Accepted]:
        """An ordinary connection, whose request has arrived."""
        peer = self.open(**fields)
        peer.send()
        peer.send(0, data, "PA")
        self.settle()
        return peer, self.accepted(peer)

    def accepted(self, peer: Peer) -> Accepted:
        """The last accepted connection from this peer."""
        return self.all_accepted(peer)[-1]

    def all_accepted(self, peer: Peer) -> list[Accepted]:
        """All accepted connections from this peer, at least one."""
        found = [each for each in self.server.accepted if each.peer == peer.source]
        require(found, f"nothing accepted from {peer.source}")
        return found

    def judge(self) -> None:
        """Judges all connections that were accepted so far."""
        self.settle()
        judge(self.server.accepted, self.peers, self.trial.injector, self.keys)

    def forget_conntrack(self) -> None:
        """Deletes every conntrack entry, as if all had timed out."""
        flush_conntrack(self.trial.gateway)

    def require_counted(self, *names: str) -> None:
        """Fails unless one of these counters rose: the attack has reached the injector."""
        risen = self.trial.risen()
        require(any(risen.get(name) for name in names), f"none of {names} in {risen}")

    def each(self, function: Callable[..., None], *axes: Mapping[str, Any]) -> None:
        """Calls `function(attack, value, ...)` for every combination, and judges after each."""
        for combination in itertools.product(*(axis.items() for axis in axes)):
            self.variant = " ".join(name for name, _ in combination)
            function(self, *(value for _, value in combination))
            self.judge()
        self.variant = ""


Function = Callable[[Attack], None]


def attack(
    function: Function, sysctls: Mapping[str, object] | None = None, signed: bool = False
) -> Callable[[Trial], Awaitable[None]]:
    """A case's body. `sysctls` apply to the listener; `signed` gives the injector a key."""

    async def body(trial: Trial) -> None:
        trial.drops_expected = trial.invalid_expected = True
        keys = KeyRing.parse(KEY) if signed else None
        settings = trial.listener.sysctls({**SHORT_ENDS, **(sysctls or {})})
        with _one_processor(), _signing(trial, signed), settings:
            made = Attack(trial, keys)
            try:
                function(made)
                made.judge()
                _still_serves(made)
                trial.facts["accepted"] = len(made.server.accepted)
            except (Failure, TimeoutError) as e:
                raise Failure(f"{made.variant}: {e}" if made.variant else str(e)) from None
            finally:
                made.close()
                await until(lambda: not unsettled(trial.listener), "the listener's sockets end")

    return body


def _still_serves(attack: Attack) -> None:
    """Checks after the attack that an ordinary client is served, and that the judge sees it."""
    _, accepted = attack.establish(b"an honest client")
    attack.judge()
    require(accepted.received.endswith(b"an honest client"), "an honest client is not served")


@contextmanager
def _one_processor() -> Iterator[None]:
    """Keeps this process on one processor; wire.py says why."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _signing(trial: Trial, signed: bool) -> Iterator[None]:
    if not signed:
        yield
        return
    trial.injector.set_keys(trial.gateway, KEY)
    try:
        yield
    finally:
        trial.injector.set_keys(trial.gateway, KEY.split()[0])

# SPDX-License-Identifier: MIT
"""Random walks: thousands of random sequences of actions, the same in every run.

A sequence that fails is shortened by leaving out actions, so that the failure's text is a short
case.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, singledispatchmethod
from random import Random

from tests.kernel.guest.judge import Failure

from .attack import Attack, Function
from .cases_syn import Cookie, cookie
from .forgery import forged
from .grammar import Action, Application, Forget, Send, Spoof, Syn, draw
from .segment import mss

PARTS = 4
"""Cases per place, among which the sequences are divided."""

TRIES = 40
"""How often a failure is shortened and run again."""


class Walk:
    def __init__(self, attack: Attack) -> None:
        self._attack = attack
        self._peer = attack.peer()
        self._end = 0
        self._given = 0
        """How many bytes the server has sent."""
        self._first: Cookie | None = None

    def run(self, actions: list[Action]) -> None:
        """Runs all actions. Failure when the listener accepted a wrong stream."""
        for action in actions:
            self.take(action)
            self._attack.settle()
            if self._peer.synack and not self._first:
                self._first = cookie(self._peer)
        self._attack.judge()

    @singledispatchmethod
    def take(self, action: Action) -> None:
        """Runs one action."""
        raise TypeError(action)

    @take.register
    def _(self, action: Syn) -> None:
        options = mss(action.mss) if action.mss else b""
        data = forged(self._attack, self._peer).ljust(action.data)[: action.data]
        self._peer.syn(self._peer.isn + action.delta, options=options, data=data)

    @take.register
    def _(self, action: Send) -> None:
        peer = self._peer
        data = self._content(action.content)
        at = self._at(action)
        ack = self._ack(action, at) + action.ack_offset
        peer.send(at, data, action.flags, ack, ttl=action.ttl, bad_checksum=action.bad_checksum)
        if abs(at) < 1 << 20:
            self._end = max(self._end, at + len(data))

    def _content(self, name: str) -> bytes:
        data = forged(self._attack, self._peer)
        if name == "forged":
            return data
        return {"empty": b"", "byte": b"b", "text": b"the request"}.get(name, data * 10)

    def _at(self, action: Send) -> int:
        """The `at` of the segment, relative to the current SYN's first byte."""
        base = action.base.removeprefix("old ")
        at = {"first": 0, "header": -self._attack.header, "end": self._end}[base] + action.offset
        if base != action.base and self._first:
            at += self._first[0] - self._peer.isn
        return at

    def _ack(self, action: Send, at: int) -> int:
        if action.ack == "sent":
            return self._given
        if action.ack == "diagonal":
            return at + (0 if self._attack.framed else self._attack.header)
        if action.ack == "old" and self._first:
            return self._first[1].seq + 1 - self._peer.server
        return 0

    @take.register
    def _(self, action: Spoof) -> None:
        data = b"S" * action.size
        self._peer.spoof(action.at, data, action.flags, action.ack, window=action.window)

    @take.register
    def _(self, action: Application) -> None:
        accepted = [a for a in self._attack.server.accepted if a.peer == self._peer.source]
        if not accepted or not accepted[-1].open:
            return
        if action.what == "send":
            accepted[-1].send(action.size)
            self._given += action.size
        else:
            getattr(accepted[-1], action.what)()

    @take.register
    def _(self, action: Forget) -> None:
        self._attack.forget_conntrack()


def _fails(attack: Attack, actions: list[Action]) -> str:
    """Why the sequence fails; empty when it passes."""
    try:
        Walk(attack).run(actions)
    except Failure as e:
        return str(e)
    finally:
        for accepted in attack.server.accepted:
            accepted.abort()
        attack.server.accepted.clear()
        attack.peers.clear()
    return ""


def _shorten(attack: Attack, actions: list[Action]) -> list[Action]:
    index = 0
    for _ in range(TRIES):
        if index == len(actions):
            break
        shorter = actions[:index] + actions[index + 1 :]
        if _fails(attack, shorter):
            actions = shorter
        else:
            index += 1
    return actions


def walk(count: int, part: int, attack: Attack) -> None:
    """Runs `count` sequences, different ones in each part."""
    for number in range(part * count, (part + 1) * count):
        random = Random(f"{attack.place.version} {number}")
        actions = draw(random)
        if why := _fails(attack, actions):
            short = _shorten(attack, actions)
            steps = "; ".join(map(repr, short))
            raise Failure(f"sequence {number}: {why}, by {steps}")
    attack.trial.facts["sequences"] = count


def cases(full: bool) -> dict[str, Function]:
    count = 500 if full else 50
    bodies: list[Callable[[Attack], None]] = [partial(walk, count, part) for part in range(PARTS)]
    return {f"walk-{part}": body for part, body in enumerate(bodies)}

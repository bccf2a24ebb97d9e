# SPDX-License-Identifier: MIT
"""A client that sends any sequence numbers: none of its bytes takes the place of a header, unless
the server has acknowledged that place and so ignores the byte.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from .library import MODULO, UNHURRIED, FrameMap, Library, load
from .middle import Middle, Segment, near
from .server import Frames, Receiver

WINDOW = 400_000
"""The server's window. The server ignores bytes beyond it."""

BYTE = b"\xee"


class Attack:
    """The server accepts all that arrives. It raises AssertionError when a byte of payload and a
    byte of a header arrive for one place, and when a frame has no header.
    """

    def __init__(self, library: Library, first: int, limit: int) -> None:
        self.first = first
        self.map = FrameMap(library, first, limit)
        self.middle = Middle(self.map)
        self.server = Receiver(WINDOW + 1, WINDOW)
        self.frames = Frames()
        self.acks = [0]
        self.delayed: list[tuple[int, bytes]] = []

    def send(self, anchor: str, offset: int, length: int, fin: bool, delay: bool) -> None:
        at = {"una": self.map.una, "max": self.map.max, "first": self.first}[anchor]
        segment = Segment((at + offset) % MODULO, BYTE * length, fin)
        passed = self.middle.forward(segment)
        if passed is None:
            return
        sent, _ = passed
        self.delayed.append((near(sent.seq - self.first, self.server.next), sent.data))
        if not delay:
            self.arrive()

    def arrive(self) -> None:
        while self.delayed:
            # A FIN only ends the attacker's own stream, so it is left out.
            self.server.arrive(*self.delayed.pop(), fin=False)
        self.frames.read(self.server.stream)
        self.acks.append(self.server.next)

    def acknowledge(self, which: int) -> None:
        """The latest ack, or an older one that was delayed, reaches the map."""
        ack = self.acks[max(0, len(self.acks) - 1 - which)]
        una = near(self.map.ack((self.first + ack) % MODULO) - self.first, ack)
        assert una <= self.frames.complete(ack)


Script = list[tuple[Any, ...]]


def attack(library: Library, first: int, limit: int, script: Script) -> None:
    """`script`: names of steps, and their arguments."""
    attack = Attack(library, first, limit)
    try:
        for name, *arguments in script:
            getattr(attack, name)(*arguments)
        attack.arrive()
    finally:
        attack.map.release()


offsets = st.one_of(
    st.integers(-40, 40),
    st.integers(-40, 0),
    st.sampled_from([-70_000, 70_000, -(1 << 24), 1 << 24, -(1 << 30), 1 << 30, 1 << 31]),
    st.integers(0, MODULO - 1),
)
lengths = st.one_of(st.integers(0, 50), st.sampled_from([65535, 65536, 70_000, 140_000]))
steps = st.one_of(
    st.tuples(
        st.just("send"), st.sampled_from(["una", "max", "first"]), offsets, lengths,
        st.integers(0, 9).map(lambda one_in_ten: one_in_ten == 0), st.booleans(),
    ),
    st.tuples(st.just("arrive")),
    st.tuples(st.just("acknowledge"), st.one_of(st.just(0), st.integers(0, 5))),
)  # fmt: skip
firsts = st.one_of(
    st.integers(0, 100).map(lambda back: MODULO - 1 - back), st.integers(0, MODULO - 1)
)


@pytest.mark.timeout(900)
@UNHURRIED
@given(firsts, st.sampled_from([65536, 3]), st.lists(steps, max_size=40))
@example(  # below the first byte, where the first header will be
    0, 65536, [("send", "first", -8, 16, False, False), ("send", "first", 0, 8, False, False)]
)
@example(  # below what was pruned
    5,
    65536,
    [
        ("send", "first", 0, 10, False, False),
        ("acknowledge", 0),
        ("send", "max", 0, 10, False, True),
        ("send", "first", -3, 30, False, False),
    ],
)
def test_no_byte_gets_into_a_header(first: int, limit: int, script: Script) -> None:
    attack(load(), first, limit, script)


def test_bytes_get_into_a_header_where_the_map_prunes_early() -> None:
    """The test above can fail: with mistake 5 a byte takes the place of a lost frame's header."""
    script = [
        ("send", "first", 0, 20, False, True),
        ("acknowledge", 0),
        ("send", "first", -8, 8, False, False),
    ]
    attack(load(), 0, 65536, script)
    with pytest.raises(AssertionError, match="no header at 0"):
        attack(load(mistake=5), 0, 65536, script)

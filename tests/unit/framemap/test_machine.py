# SPDX-License-Identifier: MIT
"""For any history of a connection through the frame map: the server gets the right bytes, the
client gets the right numbers, and the transfer can be completed.

Hypothesis searches for a history that breaks this, and shortens it. Seeded random walks take more
of the same steps, and send more bytes. test_mistakes.py shows that both find mistakes.
"""

from __future__ import annotations

import os
import random
import sys

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from .library import MODULO, UNHURRIED, Library, load
from .world import QUEUES, SEGMENT_QUEUES, Scenario, World

FULL = bool(os.environ.get("CTWSGI_TEST_FULL"))
EXAMPLES = 3000 if FULL else 250
WALKS = 20000 if FULL else 1200
BULK_WALKS = 300 if FULL else 20

FIRST = st.one_of(
    st.integers(0, 300).map(lambda back: MODULO - 1 - back),
    st.integers(0, 300).map(lambda back: MODULO // 2 - back),
    st.integers(0, MODULO - 1),
)
AGES = (0, 1, (1 << 29) - 3, (1 << 28) - 2, (1 << 32) - 4, 12345)
LIMITS = (65536, 300, 16, 4, 2, 1)
BUFFERS = (20000, 5000, 300, 40, 9, 1)

queue = st.sampled_from(QUEUES)
segment_queue = st.sampled_from(SEGMENT_QUEUES)
place = st.integers(0, 6)
size = st.integers(1, 60)


def payload(length: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(length)


class Connection(RuleBasedStateMachine):
    """Takes the steps of World in any order."""

    library: Library

    @initialize(
        length=st.integers(1, 150),
        first=FIRST,
        age=st.sampled_from(AGES),
        limit=st.sampled_from(LIMITS),
        buffer=st.sampled_from(BUFFERS),
    )
    def begin(self, length: int, first: int, age: int, limit: int, buffer: int) -> None:
        if buffer < 10:
            length = min(length, 40)
        self.world = World(self.library, Scenario(payload(length), first, age, limit, buffer))

    @rule(size=size, count=st.integers(1, 4), fin=st.booleans())
    def fresh(self, size: int, count: int, fin: bool) -> None:
        for _ in range(count):
            self.world.fresh(size, fin)

    @rule(skip=st.one_of(st.just(0), size), size=size)
    def again(self, skip: int, size: int) -> None:
        self.world.again(skip, size)

    @rule(at_una=st.booleans())
    def bare(self, at_una: bool) -> None:
        self.world.bare(at_una)

    @rule(garbage=st.booleans())
    def keepalive(self, garbage: bool) -> None:
        self.world.keepalive(garbage)

    @rule()
    def timeout(self) -> None:
        self.world.timeout()

    @rule(back=st.integers(1, 30), size=size)
    def lie(self, back: int, size: int) -> None:
        self.world.lie(back, size)

    @rule(name=queue, count=st.integers(1, 5))
    def deliver(self, name: str, count: int) -> None:
        for _ in range(count):
            self.world.deliver(name)

    @rule(name=queue, index=place, twice=st.booleans())
    def overtake(self, name: str, index: int, twice: bool) -> None:
        self.world.deliver(name, index, twice)

    @rule(name=queue, index=place)
    def lose(self, name: str, index: int) -> None:
        self.world.lose(name, index)

    @rule(name=segment_queue, index=place, size=st.one_of(st.integers(1, 12), size))
    def cut(self, name: str, index: int, size: int) -> None:
        self.world.cut(name, index, size)

    @rule(index=place, size=st.integers(1, 9))
    def lose_part(self, index: int, size: int) -> None:
        """If the segment begins with a header, part of the header is lost."""
        self.world.lose_part(index, size)

    @rule(count=st.integers(1, 400))
    def consume(self, count: int) -> None:
        self.world.consume(count)

    @rule(short=st.booleans())
    def memory(self, short: bool) -> None:
        self.world.memory(short)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            if sys.exc_info()[0] is None:  # no step has failed
                self.world.finish()
        finally:
            self.world.close()
        assert self.library.allocated == 0


def search(library: Library, chosen: settings) -> None:
    """Raises AssertionError when a wrong history is found."""
    run_state_machine_as_test(
        type("Connection", (Connection,), {"library": library}), settings=chosen
    )


def walk(library: Library, seed: int) -> None:
    """A longer history of the same steps. Raises AssertionError when it is wrong."""
    rng = random.Random(seed)
    buffer = rng.choice(BUFFERS)
    length = rng.choice((1, 30, min(300, buffer * 10), min(1000, buffer * 10)))
    first = rng.choice((0, rng.randrange(MODULO), MODULO - 1 - rng.randrange(length + 1)))
    scenario = Scenario(payload(length, seed), first, rng.choice(AGES), rng.choice(LIMITS), buffer)
    wander(World(library, scenario), rng, rng.randrange(20, 300), rng.choice((3, 40, 1000)))


def walks(library: Library, count: int) -> None:
    for seed in range(count):
        walk(library, seed)


def walk_with_bulk(library: Library, seed: int) -> None:
    """A history with segments that need more than one frame."""
    rng = random.Random(seed)
    first = MODULO - 1 - rng.randrange(300_000)
    limit = rng.choice((65536, 16, 4))
    scenario = Scenario(payload(300_000, seed), first, limit=limit, buffer=1 << 20)
    wander(World(library, scenario), rng, 60, 150_000)


def wander(world: World, rng: random.Random, steps: int, longest: int) -> None:
    rare = (
        world.timeout,
        lambda: world.bare(rng.random() < 0.7),
        lambda: world.keepalive(rng.random() < 0.5),
        lambda: world.lie(rng.randrange(40), rng.randint(1, 80)),
        lambda: world.memory(rng.random() < 0.5),
        lambda: world.consume(rng.randrange(1, 40000)),
    )
    steps_and_weights = {
        lambda: world.fresh(rng.randint(1, longest), rng.random() < 0.5): 15,
        lambda: world.again(rng.choice((0, rng.randrange(400))), rng.randint(1, longest)): 12,
        lambda: world.cut(rng.choice(SEGMENT_QUEUES), rng.randrange(4), rng.randint(1, 20)): 6,
        lambda: world.lose_part(rng.randrange(6), rng.randint(1, 9)): 6,
        lambda: world.lose(rng.choice(QUEUES), rng.randrange(4)): 6,
        lambda: world.deliver(rng.choice(QUEUES), rng.choice((0, 0, rng.randrange(8)))): 50,
        lambda: world.deliver(rng.choice(QUEUES), rng.randrange(8), twice=True): 5,
        lambda: rng.choice(rare)(): 8,
    }
    chosen = rng.choices(list(steps_and_weights), list(steps_and_weights.values()), k=steps)
    try:
        for step in chosen:
            step()
        world.finish(rng.choice((max(10, longest // 20), longest)))
    finally:
        world.close()


@pytest.mark.timeout(900)
def test_every_history_is_exact() -> None:
    search(load(), settings(UNHURRIED, max_examples=EXAMPLES, stateful_step_count=50))


@pytest.mark.timeout(900)
def test_long_walks() -> None:
    walks(load(), WALKS)
    assert load().allocated == 0


@pytest.mark.timeout(900)
def test_walks_with_bulk() -> None:
    for seed in range(BULK_WALKS):
        walk_with_bulk(load(), seed)

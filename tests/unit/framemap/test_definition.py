# SPDX-License-Identifier: MIT
"""Compares every number that the map returns with its definition, which has unbounded integers.

The definition keeps all frames of the connection and counts them; it has no ring, no search, no
pruning and no wrap-around.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from .library import (
    HEADER,
    LEFT,
    LONGEST,
    MODULO,
    RIGHT,
    UNHURRIED,
    FrameMap,
    load,
    new_map,
)

GAP = 1 << 24
SPAN = 1 << 30


@dataclass
class Definition:
    """Both spaces count from 0 at the first data byte, as if no frame had been before it."""

    limit: int
    frames: list[tuple[int, int]] = field(default_factory=list)
    pruned: int = 0
    max: int = 0
    una: int = 0
    raw: int = 0
    fin: bool = False

    @property
    def kept(self) -> list[tuple[int, int]]:
        return self.frames[self.pruned :]

    @property
    def end(self) -> int:
        return self.max + HEADER * len(self.frames)

    def commit(self, seq: int, length: int) -> str:
        if not (-SPAN <= seq - self.una <= SPAN and seq + length - self.una <= SPAN):
            return "ERANGE"
        if seq + length <= max(self.max, self.una):
            return ""
        if self.fin or seq - self.max > GAP:
            return "ERANGE"
        new = []
        at = self.max
        for to in (max(seq, at), seq + length):
            while at < to:
                new.append((at, min(LONGEST, to - at)))
                at += new[-1][1]
        if len(self.kept) + len(new) > self.limit:
            return "ENOBUFS"
        self.frames += new
        self.max = at
        return ""

    def forward(self, seq: int) -> int:
        """Exact from the first frame in the map on; the map promises only a bound below it."""
        return seq + HEADER * sum(start < seq for start, _ in self.frames)

    def reverse(self, pos: int, edge: int) -> int:
        """Exact from the first frame in the map on, as forward()."""
        for i, (start, _) in enumerate(self.frames):
            header = start + HEADER * i
            if header < pos <= header + HEADER and edge == LEFT:
                return start + 1
            if header <= pos <= header + HEADER:
                return start
        return pos - HEADER * sum(
            start + HEADER * i < pos for i, (start, _) in enumerate(self.frames)
        )

    def ack(self, ack: int) -> None:
        if self.raw <= ack <= self.end + self.fin:
            self.raw, self.una = ack, self.reverse(ack, RIGHT)
            while self.kept and self.una >= sum(self.kept[0]):
                self.pruned += 1


class Pair:
    """A map and its definition, which are compared after each step."""

    def __init__(self, frames: FrameMap, first: int, age: int, limit: int) -> None:
        self.map, self.definition = frames, Definition(limit)
        self.first, self.origin = first, first + HEADER * age
        self.age = age

    def client(self, seq: int) -> int:
        return (self.first + seq) % MODULO

    def server(self, pos: int) -> int:
        return (self.origin + pos) % MODULO

    def commit(self, seq: int, length: int) -> str:
        outcome = self.map.commit(self.client(seq), length)
        assert outcome == self.definition.commit(seq, length)
        return outcome

    def ack(self, ack: int) -> None:
        old = self.definition
        exact = ack >= self.header(0)
        expected = old.reverse(ack, RIGHT)
        translated = (self.map.ack(self.server(ack)) - self.client(0) + SPAN) % MODULO - SPAN
        assert translated == expected if exact else translated <= expected
        self.definition.ack(ack)

    def header(self, index: int) -> int:
        """The number of a frame's header. `index` may be one after the last frame."""
        d = self.definition
        start = d.kept[index][0] if index < len(d.kept) else d.max
        return start + HEADER * (d.pruned + index)

    def check(self, where: list[int]) -> None:
        """Compares all attributes, and translations at the edges of frames and at `where`."""
        map_, d = self.map, self.definition
        assert (map_.una, map_.raw) == (self.client(d.una), self.server(d.raw))
        assert map_.max == self.client(d.max)
        assert map_.count == len(d.kept)
        assert map_.pruned == (self.age + d.pruned) % MODULO
        assert map_.frames == [(self.client(start), length) for start, length in d.kept]
        assert map_.bare(self.client(d.una)) == self.server(d.raw)
        lowest = d.kept[0][0] if d.kept else d.max
        starts = [start for start, _ in d.kept[:20]] + [d.max]
        for seq in [start + by for start in starts for by in (-1, 0, 1)] + where:
            place = self.map.forward(self.client(seq))
            if seq >= lowest:
                assert place == self.server(d.forward(seq))
                assert map_.first(self.client(seq)) == sum(start < seq for start, _ in d.kept)
            else:
                # Acknowledged bytes may go anywhere that is acknowledged too.
                assert place == self.server(seq + HEADER * d.pruned)
                assert seq + HEADER * d.pruned < min(self.header(0), d.raw + 1)
        headers = [self.header(i) for i in range(min(20, len(d.kept) + 1))]
        for pos in [header + by for header in headers for by in range(-1, 10)] + where:
            for edge in (LEFT, RIGHT):
                if pos >= self.header(0):
                    assert map_.reverse(self.server(pos), edge) == self.client(d.reverse(pos, edge))
                    if pos <= d.end + d.fin:
                        self.check_window(pos, 8192 + abs(pos - d.raw))

    def check_window(self, ack: int, window: int) -> None:
        map_, d = self.map, self.definition
        translated = map_.window(self.server(ack), window)
        assert map_.window(self.server(ack), 0) == 0
        assert 0 < translated <= window
        if window < 8192 or window < 4 * map_.mean or ack > d.end:
            assert translated == window
            return
        beyond = max(0, ack + window - d.end)
        known = d.reverse(ack + window - beyond, RIGHT) - d.reverse(ack, RIGHT)
        assert translated == known + beyond - beyond // (map_.mean + HEADER) * HEADER


small = st.integers(0, 40)
length = st.one_of(small, st.sampled_from([1460, 65534, 65535, 65536, 131070, 131071, 300_000]))
ahead = st.one_of(
    st.integers(-50, 50),
    st.sampled_from(
        [-300_000, 65535, 65536, GAP - 1, GAP, GAP + 1, SPAN - 1, SPAN, 1 << 31, -SPAN, -SPAN - 1]
    ),
)
operation = st.one_of(
    st.tuples(st.just("commit"), ahead, length),
    st.tuples(st.just("commit"), st.just(0), length),
    st.tuples(st.just("ack"), st.integers(0, 4), st.integers(-2, 12)),
    st.tuples(st.just("ack"), small, st.integers(-100_000, 100_000)),
    st.tuples(st.just("fin"), st.just(0), st.just(0)),
    st.tuples(st.just("short"), st.just(0), length.filter(bool)),
)
numbers = st.one_of(
    st.integers(0, MODULO - 1),
    st.integers(0, 400_000).map(lambda back: MODULO - 1 - back),
    st.integers(0, 400_000).map(lambda back: MODULO // 2 - back),
)
ages = st.sampled_from([0, 0, 1, (1 << 29) - 3, (1 << 28) - 2, (1 << 32) - 4, 12345])
places = st.lists(st.integers(-1_000_000, 1_000_000), max_size=4)


@pytest.mark.timeout(900)
@UNHURRIED
@given(
    numbers,
    ages,
    st.sampled_from([1, 2, 5, 300, 65536]),
    st.lists(operation, max_size=40),
    places,
)
@example(0, 0, 300, [("commit", 0, 1), ("ack", 1, 0), ("ack", 0, -2)], [])
@example(0, 0, 300, [("commit", 0, 300_000), ("ack", 2, 8), ("fin", 0, 0), ("commit", 0, 1)], [])
def test_every_number_is_as_defined(
    first: int, age: int, limit: int, operations: list[tuple[str, int, int]], where: list[int]
) -> None:
    library = load()
    with new_map(first, limit, age) as frames:
        pair = Pair(frames, first, age, limit)
        for kind, a, b in operations:
            if kind == "commit":
                pair.commit(pair.definition.max + a, b)
            elif kind == "ack":
                pair.ack(pair.header(min(a, frames.count)) + b)
            elif kind == "fin":
                frames.fin = pair.definition.fin = True
            else:
                commit_without_memory(pair, b)
            pair.check(where)
    assert library.allocated == 0


def commit_without_memory(pair: Pair, length: int) -> None:
    """A commit succeeds if it needs no memory; otherwise it changes nothing."""
    library = load()
    size, before = pair.map.size, pair.map.count
    library.memory_short = True
    try:
        outcome = pair.map.commit(pair.map.max, length)
    finally:
        library.memory_short = False
    if outcome == "ENOMEM":
        assert (pair.map.size, pair.map.count) == (size, before)
        assert before + length / LONGEST > size // 4
    else:
        assert outcome == pair.definition.commit(pair.definition.max, length)


def test_more_bytes_than_sequence_numbers() -> None:
    """Nine gigabytes, always with a few segments in flight."""
    flight, size = 5, 3_000_001
    frames_each = -(-size // LONGEST)
    with new_map(0xFFFF0000) as frames:
        pair = Pair(frames, 0xFFFF0000, 0, 1 << 16)
        for sent in range(9 * 359):
            assert frames.commit(pair.client(sent * size), size) == ""
            place = sent * (size + HEADER * frames_each)
            assert frames.forward(pair.client(sent * size)) == pair.server(place)
            done = sent - flight
            if done >= 0:
                ack = pair.server(done * (size + HEADER * frames_each))
                una = pair.client(done * size)
                assert frames.ack(ack) == frames.una == una
                assert frames.ack(ack - 100) == (una - 100) % MODULO
                assert frames.bare(una) == ack
                assert frames.count == frames_each * (flight + 1)
        assert sent * size > 9 << 30
        assert frames.size == 4 * 512


@pytest.mark.parametrize("age", [(1 << 29) - 100, (1 << 32) - 100])
def test_more_headers_than_numbers(age: int) -> None:
    """The number of headers, and of their bytes, wraps around as well."""
    with new_map(7, pruned=age) as frames:
        pair = Pair(frames, 7, age, 65536)
        for i in range(200):
            pair.commit(i, 1)
            if i > 5:
                pair.ack(pair.header(1))
            if i % 10 == 0:
                pair.check([])

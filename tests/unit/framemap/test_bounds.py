# SPDX-License-Identifier: MIT
"""The frame map refuses some segments, and bounds its memory."""

from __future__ import annotations

import pytest

from .library import LONGEST, MODULO, load, new_map


@pytest.mark.parametrize(
    ("seq", "length", "outcome"),
    [
        (1 << 24, 1, ""),
        ((1 << 24) + 1, 1, "ERANGE"),
        (1 << 30, 1, "ERANGE"),
        (1 << 31, 1, "ERANGE"),
        (-(1 << 30), 1, ""),  # old; not new
        (-(1 << 30) - 1, 1, "ERANGE"),
        (0, (1 << 30) + 1, "ERANGE"),
        (0, MODULO - 1, "ERANGE"),
    ],
)
def test_a_segment_that_is_too_far_away(seq: int, length: int, outcome: str) -> None:
    with new_map(100) as frames:
        assert frames.commit(100 + seq, length) == outcome
        assert outcome == "" or frames.count == 0


def test_a_client_without_acks_cannot_send_on_for_ever() -> None:
    """Each segment is near the one before it, but in the end too far from the ack."""
    with new_map(0) as frames:
        steps = 0
        while frames.commit(steps << 24, 1) == "":
            steps += 1
        assert steps == (1 << 30) >> 24
        assert frames.forward(frames.max) == frames.max + 8 * frames.count


def test_the_limit() -> None:
    with new_map(0, limit=4) as frames:
        for seq in range(4):
            assert frames.commit(seq, 1) == ""
        before = frames.frames
        assert frames.commit(4, 1) == "ENOBUFS"
        assert frames.commit(0, 5) == "ENOBUFS"
        assert frames.frames == before
        assert frames.commit(0, 4) == ""  # bytes in frames can be sent again
        assert frames.ack(18) == 2
        assert frames.commit(6, 1) == ""  # a gap, and one more
        assert frames.commit(7, 1) == "ENOBUFS"


def test_no_limit_is_higher_than_what_can_be_allocated() -> None:
    with new_map(0, limit=MODULO - 1) as frames:
        assert frames.limit == 1 << 20


def test_a_limit_of_one_frame_lets_a_transfer_go_on() -> None:
    with new_map(0, limit=1) as frames:
        position = 0
        for seq in range(0, 10 * LONGEST, LONGEST):
            assert frames.commit(seq, LONGEST + 1) == "ENOBUFS"
            assert frames.commit(seq, LONGEST) == ""
            position += 8 + LONGEST
            assert frames.ack(position) == seq + LONGEST


def test_without_memory_nothing_changes() -> None:
    library = load()
    with new_map(0) as frames:
        library.memory_short = True
        try:
            assert frames.commit(0, 1) == "ENOMEM"
            assert (frames.count, frames.max, frames.forward(1)) == (0, 0, 1)
            library.memory_short = False
            for seq in range(16):
                assert frames.commit(seq, 1) == ""
            before = frames.frames
            library.memory_short = True
            assert frames.commit(16, 1) == "ENOMEM"
            assert frames.frames == before
            assert frames.ack(9) == 1
            assert frames.commit(16, 1) == ""  # takes the entry of the pruned one
        finally:
            library.memory_short = False


def test_memory_grows_as_needed_and_shrinks_when_nothing_is_in_flight() -> None:
    with new_map(0) as frames:
        sizes = set()
        for seq in range(100):
            assert frames.commit(seq, 1) == ""
            sizes.add(frames.size)
        assert sizes == {64, 128, 256, 512}
        assert frames.ack(99 * 9) == 99
        assert frames.size == 512
        assert frames.ack(100 * 9) == 100
        assert frames.size == 0
        assert frames.commit(100, 1) == ""
        assert frames.ack(101 * 9) == 101
        assert frames.size == 64  # the smallest ring is kept for the next request
        assert load().allocated == 1
    assert load().allocated == 0

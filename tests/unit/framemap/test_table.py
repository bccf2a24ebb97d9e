# SPDX-License-Identifier: MIT
"""Corner cases of the frame map, with all numbers written out.

FRAMES is a connection with three frames, of 10, 1 and 5 bytes. Its first byte has number 100:

    client space   100        110  111        116
    server space   100  108   118  126  127  135   140
                   |head|bytes|head|byte|head|bytes|
"""

from __future__ import annotations

import pytest

from .library import FRAMES, LEFT, MODULO, RIGHT, new_map, three_frames


def test_before_any_frame_both_spaces_are_equal() -> None:
    with new_map(100) as frames:
        assert [frames.forward(seq) for seq in (99, 100, 101)] == [99, 100, 101]
        assert [frames.reverse(pos, LEFT) for pos in (99, 100, 108)] == [99, 100, 108]
        assert frames.ack(100) == frames.bare(100) == 100
        assert frames.window(100, 5000) == 5000
        assert frames.size == 0


@pytest.mark.parametrize(
    ("seq", "position", "index"),
    [
        (99, 99, 0),
        (100, 100, 0),  # a frame's first byte: the number of its header
        (101, 109, 1),
        (109, 117, 1),
        (110, 118, 1),
        (111, 127, 2),
        (112, 136, 3),
        (115, 139, 3),
        (116, 140, 3),  # the next byte, or the FIN
    ],
)
def test_forward(seq: int, position: int, index: int) -> None:
    with three_frames() as frames:
        assert frames.forward(seq) == position
        assert frames.first(seq) == index


@pytest.mark.parametrize(
    ("position", "right", "left"),
    [
        (99, 99, 99),
        (100, 100, 100),
        (101, 100, 101),  # part of the header is missing, so the frame's first byte is, too
        (107, 100, 101),
        (108, 100, 101),  # the whole header is missing
        (109, 101, 101),
        (117, 109, 109),
        (118, 110, 110),
        (119, 110, 111),
        (126, 110, 111),
        (127, 111, 111),
        (128, 111, 112),
        (135, 111, 112),
        (136, 112, 112),
        (140, 116, 116),
        (141, 117, 117),  # the FIN
    ],
)
def test_reverse(position: int, right: int, left: int) -> None:
    with three_frames() as frames:
        assert frames.reverse(position, RIGHT) == right
        assert frames.reverse(position, LEFT) == left


@pytest.mark.parametrize(
    "block",
    [
        (101, 108),  # inside one header
        (102, 109),  # the rest of a header, and the byte that is sent with it
        (119, 127),  # the same for the frame of one byte
        (119, 131),  # and part of the next header
    ],
)
def test_a_block_without_payload_is_empty_for_the_client(block: tuple[int, int]) -> None:
    with three_frames() as frames:
        assert frames.reverse(block[0], LEFT) >= frames.reverse(block[1], RIGHT)


@pytest.mark.parametrize(
    ("ack", "una", "kept"),
    [
        (100, 100, 3),
        (104, 100, 3),
        (108, 100, 3),
        (117, 109, 3),
        (118, 110, 2),
        (122, 110, 2),
        (127, 111, 1),
        (139, 115, 1),
        (140, 116, 0),
    ],
)
def test_an_ack_prunes_the_frames_that_it_covers(ack: int, una: int, kept: int) -> None:
    with three_frames() as frames:
        assert frames.ack(ack) == frames.una == una
        assert frames.raw == ack
        assert frames.frames == FRAMES[3 - kept :]
        assert frames.bare(una) == ack
        assert frames.forward(116) == 140


@pytest.mark.parametrize("ack", [99, 50, 100 + (1 << 31), 141, 142, 5000, 100 - (1 << 31)])
@pytest.mark.parametrize("fin", [False, True])
def test_an_ack_that_cannot_be_changes_nothing(ack: int, fin: bool) -> None:
    with three_frames() as frames:
        frames.fin = fin
        frames.ack(ack)
        is_of_the_fin = fin and ack == 141
        assert (frames.una, frames.raw, frames.count) == (
            (117, 141, 0) if is_of_the_fin else (100, 100, 3)
        )


def test_an_older_ack_changes_nothing() -> None:
    with three_frames() as frames:
        assert frames.ack(127) == 111
        assert frames.ack(118) <= 110
        assert (frames.una, frames.raw, frames.count) == (111, 127, 1)


def test_pruned_numbers_are_translated_to_acknowledged_ones() -> None:
    with three_frames() as frames:
        frames.ack(130)  # in the third header
        assert frames.frames == [(111, 5)]
        assert [frames.forward(seq) for seq in (110, 100, 50)] == [126, 116, 66]
        assert frames.forward(111) == 127  # the header again
        assert frames.bare(111) == 130  # a reset must have the exact number
        assert frames.bare(110) == 126
        assert [frames.reverse(pos, LEFT) for pos in (126, 116)] == [110, 100]


def test_a_gap_becomes_a_frame_of_its_own() -> None:
    with new_map(100) as frames:
        assert frames.commit(130, 5) == ""
        assert frames.frames == [(100, 30), (130, 5)]
        assert frames.commit(105, 60) == ""
        assert frames.frames == [(100, 30), (130, 5), (135, 30)]


def test_a_fin_alone_makes_a_frame_of_the_gap_only() -> None:
    with new_map(100) as frames:
        assert frames.commit(130, 0) == ""
        assert frames.commit(130, 0) == ""
        assert frames.frames == [(100, 30)]
        assert frames.forward(130) == 138


def test_a_segment_that_is_known_changes_nothing() -> None:
    with three_frames() as frames:
        for seq, length in [(100, 16), (100, 0), (105, 3), (116, 0), (90, 5), (110, 6)]:
            assert frames.commit(seq, length) == ""
        assert frames.frames == FRAMES


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (65534, [65534]),
        (65535, [65535]),
        (65536, [65535, 1]),
        (131070, [65535, 65535]),
        (200000, [65535, 65535, 65535, 3395]),
    ],
)
def test_long_segments_and_gaps_become_several_frames(length: int, expected: list[int]) -> None:
    first = MODULO - 70000
    with new_map(first) as frames:
        assert frames.commit(first, length) == ""
        assert [frame[1] for frame in frames.frames] == expected
        assert frames.forward(first + length) == (first + length + 8 * len(expected)) % MODULO
    with new_map(first) as frames:
        assert frames.commit(first + length, 1) == ""
        assert [frame[1] for frame in frames.frames] == [*expected, 1]


def test_nothing_follows_a_fin() -> None:
    with three_frames() as frames:
        frames.fin = True
        assert frames.commit(116, 1) == "ERANGE"
        assert frames.commit(100, 17) == "ERANGE"
        assert frames.commit(117, 0) == "ERANGE"
        assert frames.commit(116, 0) == ""  # the FIN again
        assert frames.commit(100, 16) == ""
        assert frames.frames == FRAMES


def test_a_keepalive_after_an_acknowledged_fin_is_let_through() -> None:
    """Its number is una - 1, which is that of the FIN, and some stacks send a byte of garbage."""
    with three_frames() as frames:
        frames.fin = True
        assert frames.ack(141) == 117
        assert frames.commit(116, 1) == ""
        assert frames.forward(116) == 140  # which the server has acknowledged
        assert frames.commit(116, 2) == frames.commit(117, 1) == "ERANGE"
        assert frames.bare(117) == 141

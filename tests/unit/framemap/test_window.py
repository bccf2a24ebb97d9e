# SPDX-License-Identifier: MIT
"""The server's window, translated for the client."""

from __future__ import annotations

import pytest

from .library import FrameMap, new_map, three_frames


def test_small_windows_are_passed_on() -> None:
    with three_frames() as frames:
        for window in (0, 1, 7, 8, 9, 2048, 8191):
            assert frames.window(100, window) == window


def learn(frames: FrameMap, length: int) -> int:
    """Sends frames of that length until the map has learnt it, and acknowledges them."""
    seq = frames.max
    for _ in range(200):
        assert frames.commit(seq, length) == ""
        seq += length
    frames.ack(frames.forward(seq))
    return frames.raw


@pytest.mark.parametrize(
    ("length", "window", "expected"),
    [
        (1460, 8192, 8192 - 5 * 8),
        (1460, 65536, 65536 - 44 * 8),
        (65535, 262100, 262100),  # only a few segments, which are long
        (65535, 1 << 20, (1 << 20) - 15 * 8),
        (92, 10000, 9200),
        (1 << 20, 1 << 30, (1 << 30) - (1 << 30) // (65535 + 8) * 8),
    ],
)
def test_the_window_has_space_for_the_headers_of_future_frames(
    length: int, window: int, expected: int
) -> None:
    with new_map(0, limit=1 << 16) as frames:
        ack = learn(frames, length)
        assert frames.window(ack, window) == expected


def test_the_window_has_space_for_the_headers_of_known_frames() -> None:
    with new_map(0) as frames:
        una = learn(frames, 100) and frames.una
        for i in range(1000):
            frames.commit(una + 100 * i, 100)
        ack = frames.raw
        assert frames.window(ack, 10800) == 10000
        assert frames.window(ack, 10800 + 8) == 10000  # up to the end of a header
        assert frames.window(ack, 10800 + 9) == 10001
        assert frames.window(ack + 4, 10800 - 4) == 10000  # the ack is in a header
        assert frames.window(ack + 108, 10800) == 10000  # before the ack prunes
        assert frames.window(ack + 10800, 0) == 0


def test_a_window_of_tiny_frames_does_not_close() -> None:
    with new_map(0) as frames:
        ack = learn(frames, 1)
        assert frames.window(ack, 8192) == 8192 - 8192 // 9 * 8


def test_the_window_of_an_ack_of_nothing_is_left_alone() -> None:
    with three_frames() as frames:
        learn(frames, 10)
        assert frames.window(frames.raw + 50, 20000) == 20000

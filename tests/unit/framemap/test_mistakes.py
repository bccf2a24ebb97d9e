# SPDX-License-Identifier: MIT
"""The tests of the frame map can fail: each deliberate mistake in it is found by the search, by the
walks, and by a case of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import Phase, settings

from .library import FRAMES, LEFT, UNHURRIED, Library, load, three_frames
from .test_machine import search, walks


def left_edge_of_a_sack(library: Library) -> None:
    """Mistake 1: the client must send the first byte again, since part of its header is lost."""
    with three_frames(library) as frames:
        assert frames.reverse(122, LEFT) == 111


def window_after_an_ack(library: Library) -> None:
    """Mistake 4: the window begins at the new ack, so it is not closed."""
    with three_frames(library) as frames:
        assert frames.window(140, 40) == 40


def ack_at_a_header(library: Library) -> None:
    """Mistake 5: an ack inside a frame does not prune it."""
    with three_frames(library) as frames:
        frames.ack(118)
        assert frames.frames == FRAMES[1:]


CASES = {1: left_edge_of_a_sack, 4: window_after_an_ack, 5: ack_at_a_header}
each_mistake = pytest.mark.parametrize("mistake", CASES)


@each_mistake
def test_a_case_of_its_own(mistake: int) -> None:
    case: Callable[[Library], None] = CASES[mistake]
    case(load())
    with pytest.raises(AssertionError):
        case(load(mistake))


@each_mistake
def test_the_search_finds_it(mistake: int) -> None:
    chosen = settings(
        UNHURRIED,
        max_examples=1500,
        stateful_step_count=50,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
    )
    with pytest.raises(AssertionError):
        search(load(mistake), chosen)


@each_mistake
def test_the_walks_find_it(mistake: int) -> None:
    with pytest.raises(AssertionError):
        walks(load(mistake), 300)

# SPDX-License-Identifier: MIT
"""Grants over time as an SVG, made here: a page of ours runs no script and fetches nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

HOUR = 3600
HOURS = 48

WIDTH, HEIGHT = 720, 160
"""Of the drawing, in its own units; the style sheet scales it."""
LEFT, BOTTOM, TOP, LABEL = 36, 22, 8, 70
"""Room for the numbers, the hours, and an hour's text."""


@dataclass(frozen=True)
class Bar:
    """One hour: a rectangle, and what it says to those who hover or listen."""

    x: float
    y: float
    width: float
    height: float
    label: str


@dataclass(frozen=True)
class Plot:
    """What templates/plot.svg draws."""

    bars: tuple[Bar, ...]
    hours: tuple[tuple[float, str], ...]
    """(x, text) below the axis."""
    top: int
    """The number at the upper end of the scale."""
    total: int


def plot(history: Sequence[tuple[float, int]], at: float) -> Plot:
    """The HOURS before `at`; `history` is the store's, hours without a grant may be missing."""
    last = at // HOUR
    counts = {hour // HOUR: grants for hour, grants in history}
    series = [(hour, counts.get(hour, 0)) for hour in _range(last)]
    top = _scale(max(count for _, count in series))
    width = (WIDTH - LEFT) / HOURS
    bars, marks = [], []
    for i, (hour, count) in enumerate(series):
        clock = time.localtime(hour * HOUR)
        x = LEFT + i * width
        height = (HEIGHT - BOTTOM - TOP) * count / top
        label = f"{time.strftime('%d %b %H:%M', clock)}: {count}"
        bars.append(Bar(round(x, 1), round(HEIGHT - BOTTOM - height, 1), round(width - 1, 1),
                        round(height, 1), label))  # fmt: skip
        if clock.tm_hour % 12 == 0 and x < WIDTH - LABEL:
            marks.append((round(x, 1), time.strftime("%d %b %H:%M", clock)))
    return Plot(tuple(bars), tuple(marks), top, sum(count for _, count in series))


def _range(last: float) -> list[float]:
    return [last - i for i in reversed(range(HOURS))]


def _scale(most: int) -> int:
    """1, 2, 5, 10, 20, 50 ... so that people can read it."""
    step = 1
    while True:
        for factor in (1, 2, 5):
            if most <= factor * step:
                return factor * step
        step *= 10

# SPDX-License-Identifier: MIT
"""Computes the plot of grants over time. A template draws it as SVG: pages run no script."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

HOUR = 3600
HOURS = 48

WIDTH, HEIGHT = 720, 160
"""The size of the drawing in its own units. The style sheet scales it."""
LEFT, BOTTOM, TOP, LABEL = 36, 22, 8, 70
"""Margins for the numbers, the hours and the top, and the width of an hour's text."""


@dataclass(frozen=True)
class Bar:
    """The rectangle of one hour, and its text for pointers and screen readers."""

    x: float
    y: float
    width: float
    height: float
    label: str


@dataclass(frozen=True)
class Plot:
    """The values for templates/plot.svg."""

    bars: tuple[Bar, ...]
    hours: tuple[tuple[float, str], ...]
    """(x, text) below the axis."""
    top: int
    """The number at the upper end of the scale."""
    total: int


def plot(history: Sequence[tuple[float, int]], at: float) -> Plot:
    """The plot of the HOURS before `at`. `history` is the store's, without empty hours."""
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
    """The least of 1, 2, 5, 10, 20, 50 ... that is not below `most`."""
    step = 1
    while True:
        for factor in (1, 2, 5):
            if most <= factor * step:
                return factor * step
        step *= 10

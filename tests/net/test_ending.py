# SPDX-License-Identifier: MIT
"""A program that uses a lab ends by a signal at each of its waits, and leaves nothing.

tests/unit/lab/test_ending.py tests single waits, and the places that drop exceptions.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from itertools import cycle
from pathlib import Path

import pytest

from tests import ROOT
from tests.lab import unavailable, until
from tests.lab.outside import running_with

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))

NEVER = 1 << 20
AT_ONCE = 4
"""How many programs run side by side."""


class Signalled:
    """tests/net/signalled.py, with the environment by which its processes are known."""

    def __init__(self, number: int, event: str, point: int, folder: Path) -> None:
        self._told = f"{signal.Signals(number).name} at {event} {point}"
        self._number = number
        name, value = "LAB_TEST_MARK", str(uuid.uuid4())
        self._mark, self._folder = f"{name}={value}", folder / value
        self._folder.mkdir()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.net.signalled", str(number), event, str(point)],
            env={**os.environ, name: value, "TMPDIR": str(self._folder)},
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def check(self) -> int:
        """That it ended by the signal and left nothing. Gives the count that it printed."""
        out, err = self._process.communicate(timeout=120)
        assert (self._process.returncode, err) == (128 + self._number, ""), self._told
        until(lambda: not running_with(self._mark), f"{self._told}: the end of all processes")
        assert list(self._folder.iterdir()) == [], self._told
        return int(out)


@pytest.mark.timeout(900)  # dozens of programs, each of which makes a lab
@pytest.mark.parametrize(
    "step", [7, pytest.param(1, marks=pytest.mark.full)], ids=["some waits", "every wait"]
)
@pytest.mark.parametrize("event", ["call", "return"])
def test_a_signal_at_any_wait(tmp_path: Path, event: str, step: int) -> None:
    count = Signalled(signal.SIGTERM, event, NEVER, tmp_path).check()
    assert count > 20
    points = range(1, count + 1, step)
    numbers = cycle([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    plans = list(zip(numbers, points, strict=False))
    for batch in (plans[i : i + AT_ONCE] for i in range(0, len(plans), AT_ONCE)):
        running = [Signalled(number, event, point, tmp_path) for number, point in batch]
        for program in running:
            program.check()

# SPDX-License-Identifier: MIT
"""Waiting for an event with a deadline, never for a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

DEADLINE = float(os.environ.get("LAB_DEADLINE", "30"))
"""Seconds. Only a failure ever takes this long, so it may be generous on a busy machine; and on an
emulated one, where a server takes half a minute to start, LAB_DEADLINE must make it more.
"""

T = TypeVar("T")


def until(event: Callable[[], T], what: str, deadline: float = DEADLINE) -> T:
    """The first true answer of `event()`; TimeoutError that names `what` after `deadline` s."""
    end = time.monotonic() + deadline
    while True:
        answer = event()
        if answer:
            return answer
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {deadline:g} s")
        time.sleep(0.02)

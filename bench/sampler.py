# SPDX-License-Identifier: MIT
"""A sampling profiler for a gevent process: the CPU time of its lines and functions.

cProfile keeps one call stack, and greenlets that switch within a call make it wrong. Here the
kernel's CPU timer interrupts, and the handler counts the running frame and its callers. Time in C
code and in system calls counts for the calling line. An idle process is not sampled.
"""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL = 0.001
"""Seconds of CPU time between samples, at least a tick of the kernel."""

SHOWN = 40


def place(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    return f"{path.parent.name}/{path.name}:{frame.f_code.co_name}"


class Sampler:
    def __init__(self) -> None:
        self.samples = 0
        self.lines: Counter[str] = Counter()
        self.functions: Counter[str] = Counter()
        self.inclusive: Counter[str] = Counter()

    def start(self) -> None:
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)

    def _sample(self, _signal: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        self.samples += 1
        here = place(frame)
        self.functions[here] += 1
        self.lines[f"{here}:{frame.f_lineno}"] += 1
        stack = set()
        while frame is not None:
            stack.add(place(frame))
            frame = frame.f_back
        self.inclusive.update(stack)

    def write(self, path: str) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        Path(path).write_text(self.report())

    def report(self) -> str:
        parts = [f"{self.samples} samples of CPU time"]
        for title, counts in (
            ("by line, itself", self.lines),
            ("by function, itself", self.functions),
            ("by function, with what it calls", self.inclusive),
        ):
            parts.append(f"\n{title}")
            parts += [
                f"{100 * count / self.samples:6.1f} %  {name}"
                for name, count in counts.most_common(SHOWN)
            ]
        return "\n".join(parts) + "\n"

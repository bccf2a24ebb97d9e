# SPDX-License-Identifier: MIT
"""What the module's hooks take, by the kernel's own function graph tracer.

Its clock is the time stamp counter, so a duration is a number of instructions, those of all that
the hook calls included. The tracer's own part in a duration is found by a function that does
next to nothing: the module's help().
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

TRACING = Path("/sys/kernel/tracing")

NOTHING = "help"
FUNCTIONS = ("hook_forward", "hook_reply", NOTHING)

BUFFER_KB = 65536

# "   0.412 us    |  hook_reply [ctinject]();" or "   1.034 us    |  } /* hook_reply [ctinject] */"
_DURATION = re.compile(r"([\d.]+) us +\|[ }/*]*(\w+) \[ctinject\]")


def _set(name: str, text: str) -> None:
    (TRACING / name).write_text(text)


def read(lines: Iterable[str]) -> dict[str, dict[str, float]]:
    """By function: how often it was called, and instructions for a call."""
    found: dict[str, list[float]] = {}
    for line in lines:
        if match := _DURATION.search(line):
            found.setdefault(match[2], []).append(float(match[1]) * 1000)
    return {
        name: {"calls": len(times), "instructions": sum(times) / len(times)}
        for name, times in found.items()
    }


class Trace:
    """What was traced; to be asked once the tracing is over."""

    found: dict[str, dict[str, float]]


@contextmanager
def traced() -> Iterator[Trace]:
    """Traces what is executed inside. The module is loaded."""
    if not (TRACING / "trace").exists():
        subprocess.run(["mount", "-t", "tracefs", "tracefs", str(TRACING)], check=True)
    _set("buffer_size_kb", str(BUFFER_KB))
    _set("trace_clock", "x86-tsc")
    _set("set_ftrace_filter", "".join(f"{name}:mod:ctinject\n" for name in FUNCTIONS))
    _set("current_tracer", "function_graph")
    for option in ("funcgraph-tail", "nofuncgraph-overhead"):
        _set("trace_options", option)
    trace = Trace()
    try:
        yield trace
        _set("tracing_on", "0")
        with (TRACING / "trace").open() as lines:
            trace.found = read(lines)
    finally:
        _set("current_tracer", "nop")
        _set("set_ftrace_filter", "")
        _set("tracing_on", "1")

# SPDX-License-Identifier: MIT
"""The instructions of the module's hooks, by the kernel's function graph tracer.

The tracer uses the time stamp counter, which counts instructions in the guest. A duration includes
the functions that a hook calls, and the tracer itself. The tracer's share is measured with the
module's help(), which does nearly nothing.
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
    """For each function: the number of calls, and the mean of instructions."""
    found: dict[str, list[float]] = {}
    for line in lines:
        if match := _DURATION.search(line):
            found.setdefault(match[2], []).append(float(match[1]) * 1000)
    return {
        name: {"calls": len(times), "instructions": sum(times) / len(times)}
        for name, times in found.items()
    }


class Trace:
    """The result, once the `with` block of traced() has ended."""

    found: dict[str, dict[str, float]]


@contextmanager
def traced() -> Iterator[Trace]:
    """Trace the hooks during the `with` block. The module must be loaded."""
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

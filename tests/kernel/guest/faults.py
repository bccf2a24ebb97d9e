# SPDX-License-Identifier: MIT
"""Makes allocations fail, on a kernel that can (the debug kernel of debug.config).

Only allocations fail whose call chain has an address in a given range: the module's own code, or
the function that calls its initialisation. See the kernel's fault-injection/fault-injection.rst.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

FAILSLAB = Path("/sys/kernel/debug/failslab")

Range = tuple[int, int]

CODE_SIZE = 1 << 18
"""More than the size of the module's code. No other module is loaded there."""

DEPTH = 16
"""How many callers are compared. With more, allocations of TCP that a packet of ours causes
fail."""

REF_TRACKER = "ref_tracker_alloc"
"""A checker of the debug kernel, which logs a complaint when its allocation fails."""

NEW_CACHE = "__kmem_cache_create_args"
"""Logs a complaint when its allocation fails, and leaks the name that it copied."""


def available() -> bool:
    """Whether this kernel can make allocations fail."""
    return FAILSLAB.exists()


def code_of(module: str) -> Range:
    """The addresses of a loaded module's code."""
    start = int(Path(f"/sys/module/{module}/sections/.text").read_text(), 16)
    return start & ~0xFFF, start + CODE_SIZE


def initialisation() -> Range:
    """The function that calls a module's initialisation when it is loaded."""
    return _function("do_one_initcall")


def _function(name: str) -> Range:
    symbols = Path("/proc/kallsyms").read_text()
    [start] = re.findall(rf"^(\w+) \w {name}$", symbols, re.MULTILINE)
    return int(start, 16), int(start, 16) + 0x400


@contextmanager
def _below(where: Range, depth: int, sparing: str, **settings: object) -> Iterator[None]:
    spared = _function(sparing)
    values = {
        "stacktrace-depth": depth,
        "reject-start": hex(spared[0]),
        "reject-end": hex(spared[1]),
        "require-start": hex(where[0]),
        "require-end": hex(where[1]),
        "verbose": 0,
        "times": -1,
        **{name.replace("_", "-"): value for name, value in settings.items()},
    }
    for name, value in values.items():
        (FAILSLAB / name).write_text(str(value))
    try:
        yield
    finally:
        (FAILSLAB / "probability").write_text("0")


@contextmanager
def some_fail(where: Range, percent: int) -> Iterator[None]:
    """In the `with`, this share of the atomic allocations fails, at random."""
    with _below(where, DEPTH, REF_TRACKER, ignore_gfp_wait="Y", probability=percent):
        yield


def each_fails(
    where: Range,
    call: Callable[[], object],
    before: Callable[[], object] = lambda: None,
    sparing: str = REF_TRACKER,
    most: int = 400,
) -> int:
    """Calls `call` until its nth allocation fails for every n. Returns how many calls had a
    failure.

    A call with a failed allocation may raise OSError, or succeed, since some allocations are
    optional. The last call, without a failure, must succeed. `before` runs before each call,
    without failures. Allocations below the kernel function `sparing` do not fail.
    """
    # Opened here, because opening a file allocates as well.
    nth = os.open("/proc/thread-self/fail-nth", os.O_RDWR)
    try:
        with _below(where, 32, sparing, ignore_gfp_wait="N", probability=0):
            for number in count(1):
                assert number <= most, f"more than {most} allocations"
                before()
                error = None
                os.pwrite(nth, str(number).encode(), 0)
                try:
                    call()
                except OSError as e:
                    error = e
                left = int(os.pread(nth, 16, 0))
                os.pwrite(nth, b"0", 0)
                if left:
                    if error:
                        raise error
                    return number - 1
    finally:
        os.close(nth)
    raise AssertionError("not reached")

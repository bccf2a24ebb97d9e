# SPDX-License-Identifier: MIT
"""Allocations that fail on demand, where the kernel can do that (the debug kernel of debug.config).

Of all allocations only those fail that are made below a range of addresses: the module's own code,
or what calls its initialisation. See the kernel's fault-injection/fault-injection.rst.
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
"""More than the module's code has. No other module is loaded where these run."""

DEPTH = 16
"""Callers that are looked at: what TCP allocates as a packet of ours reaches it is its own."""

REF_TRACKER = "ref_tracker_alloc"
"""A checker of this kernel: without memory it gives up, and complains."""

NEW_CACHE = "__kmem_cache_create_args"
"""Complains when it fails, and loses the name that it had copied."""


def available() -> bool:
    """Whether this kernel can."""
    return FAILSLAB.exists()


def code_of(module: str) -> Range:
    """Where a loaded module's code is."""
    start = int(Path(f"/sys/module/{module}/sections/.text").read_text(), 16)
    return start & ~0xFFF, start + CODE_SIZE


def initialisation() -> Range:
    """What runs below this, as a module is loaded, is the module's own initialisation."""
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
    """Inside the `with` that part of the allocations that cannot wait fails, at random."""
    with _below(where, DEPTH, REF_TRACKER, ignore_gfp_wait="Y", probability=percent):
        yield


def each_fails(
    where: Range,
    call: Callable[[], object],
    before: Callable[[], object] = lambda: None,
    sparing: str = REF_TRACKER,
    most: int = 400,
) -> int:
    """Calls again and again: the first allocation of the first call fails, the second of the next,
    and so on, until a call makes no more. Returns how many calls there were before that one.

    OSError is a right answer to a call whose allocation failed, and to no other; so is success,
    since some allocations are dispensable. `before` is what precedes each call, with none failing,
    `sparing` a function of the kernel's that is spared.
    """
    # Descriptors, because opening a file allocates as well.
    nth = os.open("/proc/thread-self/fail-nth", os.O_RDWR)
    try:
        with _below(where, 32, sparing, ignore_gfp_wait="N", probability=0):
            for number in count(1):
                assert number <= most, "there is no end of it"
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

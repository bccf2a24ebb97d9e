# SPDX-License-Identifier: MIT
"""`kmod/ctinject/framemap.c`, a source file of the module, as a shared library.

`load()` is built from the shipped source, `load(mistake=N)` from a copy with deliberate mistake N.
Undefined behaviour traps if the compiler can make it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_bool, c_int, c_long, c_size_t, c_uint32, c_void_p
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, settings

from tests.kernel.mistakes import PATCHES, SOURCE
from tests.mistakes import numbered, patched

HERE = Path(__file__).parent

HEADER = 8
LONGEST = 65535
MODULO = 1 << 32
RIGHT, LEFT = 0, 1

FRAMES = [(100, 10), (110, 1), (111, 5)]
"""(seq, len) of each frame that three_frames() makes."""

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Without a deadline: the machine may be busy, and the first example waits for cc."""

_CC = os.environ.get("CC", "cc")
_FLAGS = ["-std=gnu11", "-O1", "-g", "-fPIC", "-shared", "-Wall", "-Wextra", "-Wundef", "-Werror"]
_WRAP = ["-Wl,--wrap=malloc", "-Wl,--wrap=free"]


class _Map(ctypes.Structure):
    """struct framemap."""

    _fields_ = (
        ("una", c_uint32),
        ("raw", c_uint32),
        ("max", c_uint32),
        ("pruned", c_uint32),
        ("count", c_uint32),
        ("head", c_uint32),
        ("capacity", c_uint32),
        ("limit", c_uint32),
        ("mean8", c_uint32),
        ("start", POINTER(c_uint32)),
        ("fin", c_bool),
        ("account", c_void_p),
    )


class Frame(ctypes.Structure):
    """struct frame."""

    _fields_ = (("seq", c_uint32), ("len", c_uint32))


@cache
def _trap() -> tuple[str, ...]:
    """Options that make undefined behaviour trap, as this compiler spells them; or none."""
    for spelling in ("-fsanitize-trap=undefined", "-fsanitize-undefined-trap-on-error"):
        options = ("-fsanitize=undefined", spelling)
        command = [_CC, *_FLAGS, *options, "-x", "c", "-o", os.devnull, os.devnull]
        if subprocess.run(command, capture_output=True).returncode == 0:
            return options
    return ()


class Library:
    """The functions of framemap.c, and the allocator that they use."""

    def __init__(self, path: Path) -> None:
        self._dll = dll = ctypes.CDLL(str(path))
        for name, result, *arguments in (
            ("init", None, c_uint32, c_uint32),
            ("release", None),
            ("size", c_uint32),
            ("commit", c_int, c_uint32, c_uint32),
            ("forward", c_uint32, c_uint32),
            ("bare", c_uint32, c_uint32),
            ("first", c_uint32, c_uint32),
            ("frame", Frame, c_uint32),
            ("reverse", c_uint32, c_uint32, c_int),
            ("ack", c_uint32, c_uint32),
            ("window", c_uint32, c_uint32, c_uint32),
        ):
            function = getattr(dll, f"framemap_{name}")
            function.restype, function.argtypes = result, (POINTER(_Map), *arguments)
            setattr(self, name, function)
        self._allocated = c_long.in_dll(dll, "testing_allocated")
        self._memory_short = c_bool.in_dll(dll, "testing_memory_short")
        assert c_size_t.in_dll(dll, "testing_map_size").value == ctypes.sizeof(_Map)

    @property
    def allocated(self) -> int:
        """The number of allocations that are not freed."""
        return self._allocated.value

    @property
    def memory_short(self) -> bool:
        """While true, every allocation fails."""
        return self._memory_short.value

    @memory_short.setter
    def memory_short(self, short: bool) -> None:
        self._memory_short.value = short


@cache
def load(mistake: int = 0) -> Library:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "framemap.so"
        source = SOURCE
        if mistake:
            source = patched(SOURCE, numbered(PATCHES)[mistake], Path(folder) / "patched")
        files = [str(source / "framemap.c"), str(HERE / "testing.c")]
        options = [*_FLAGS, *_trap(), *_WRAP, f"-I{source}", "-include", str(HERE / "user_port.h")]
        subprocess.run([_CC, *options, "-o", str(path), *files], check=True)
        return Library(path)


class FrameMap:
    """One map. It takes any int as a sequence number, and returns numbers modulo 2^32."""

    def __init__(self, library: Library, seq: int, limit: int = 65536, pruned: int = 0) -> None:
        """`pruned`: how many frames the map has sent and pruned before."""
        self._library, self._map = library, _Map()
        self._at = byref(self._map)
        library.init(self._at, seq % MODULO, limit)
        self._map.pruned = pruned % MODULO
        self._map.raw = (seq + HEADER * pruned) % MODULO

    def release(self) -> None:
        self._library.release(self._at)

    @property
    def una(self) -> int:
        return self._map.una

    @property
    def raw(self) -> int:
        return self._map.raw

    @property
    def max(self) -> int:
        return self._map.max

    @property
    def count(self) -> int:
        return self._map.count

    @property
    def pruned(self) -> int:
        return self._map.pruned

    @property
    def limit(self) -> int:
        return self._map.limit

    @property
    def mean(self) -> int:
        return self._map.mean8 // 8

    @property
    def fin(self) -> bool:
        return self._map.fin

    @fin.setter
    def fin(self, fin: bool) -> None:
        self._map.fin = fin

    @property
    def size(self) -> int:
        return self._library.size(self._at)

    @property
    def frames(self) -> list[tuple[int, int]]:
        """(seq, len) of each frame in the map."""
        frames = (self._library.frame(self._at, i) for i in range(self.count))
        return [(frame.seq, frame.len) for frame in frames]

    def frame(self, index: int) -> tuple[int, int]:
        assert 0 <= index < self.count
        frame = self._library.frame(self._at, index)
        return frame.seq, frame.len

    def commit(self, seq: int, length: int) -> str:
        """The name of the error, or an empty string."""
        status = self._library.commit(self._at, seq % MODULO, length)
        return errno.errorcode[-status] if status else ""

    def forward(self, seq: int) -> int:
        return self._library.forward(self._at, seq % MODULO)

    def bare(self, seq: int) -> int:
        return self._library.bare(self._at, seq % MODULO)

    def first(self, seq: int) -> int:
        return self._library.first(self._at, seq % MODULO)

    def reverse(self, pos: int, edge: int = RIGHT) -> int:
        return self._library.reverse(self._at, pos % MODULO, edge)

    def ack(self, ack: int) -> int:
        return self._library.ack(self._at, ack % MODULO)

    def window(self, ack: int, window: int) -> int:
        return self._library.window(self._at, ack % MODULO, window)


@contextmanager
def new_map(
    seq: int, limit: int = 65536, pruned: int = 0, library: Library | None = None
) -> Iterator[FrameMap]:
    """A map, which is released at the end of the `with` block."""
    frames = FrameMap(library or load(), seq, limit, pruned)
    try:
        yield frames
    finally:
        frames.release()


@contextmanager
def three_frames(library: Library | None = None) -> Iterator[FrameMap]:
    """A connection with FRAMES; test_table.py has its picture."""
    with new_map(100, library=library) as frames:
        for frame in FRAMES:
            assert frames.commit(*frame) == ""
        yield frames

# SPDX-License-Identifier: MIT
"""`kmod/ctinject/framemap.c`, the file that the module is made of, as a shared library.

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
from ctypes import POINTER, byref, c_bool, c_int, c_long, c_size_t, c_uint32
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
"""(seq, len) of three_frames()."""

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The machine may be busy, and the first example waits for cc."""

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
    """The functions, and the allocator below them."""

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
        """Pieces of memory that are not freed."""
        return self._allocated.value

    @property
    def memory_short(self) -> bool:
        """While true, nothing can be allocated."""
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
        options = [*_FLAGS, *_trap(), *_WRAP, f"-I{source}"]
        subprocess.run([_CC, *options, "-o", str(path), *files], check=True)
        return Library(path)


class FrameMap:
    """One map. Numbers go in as any int and come out modulo 2^32."""

    def __init__(self, library: Library, seq: int, limit: int = 65536, pruned: int = 0) -> None:
        """`pruned`: as if so many frames had been sent and acknowledged before."""
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
        """(seq, len) of each that is kept."""
        frames = (self._library.frame(self._at, i) for i in range(self.count))
        return [(frame.seq, frame.len) for frame in frames]

    def frame(self, index: int) -> tuple[int, int]:
        assert 0 <= index < self.count
        frame = self._library.frame(self._at, index)
        return frame.seq, frame.len

    def commit(self, seq: int, length: int) -> str:
        """'' or the name of the error."""
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
    """A map for the length of a `with`."""
    frames = FrameMap(library or load(), seq, limit, pruned)
    try:
        yield frames
    finally:
        frames.release()


@contextmanager
def three_frames(library: Library | None = None) -> Iterator[FrameMap]:
    """The connection that the tables are about; test_framemap_table.py has its picture."""
    with new_map(100, library=library) as frames:
        for frame in FRAMES:
            assert frames.commit(*frame) == ""
        yield frames

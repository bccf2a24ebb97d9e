# SPDX-License-Identifier: MIT
"""The functions of libbpf.so.1 that are needed to load an object and to use its maps, by ctypes.

A call that fails raises a BpfError with its name and errno. If the kernel refuses the program, the
message has the end of the verifier's log.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from ctypes import (
    POINTER,
    Structure,
    byref,
    c_char_p,
    c_int,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from functools import cache
from pathlib import Path

from .errors import InjectorError

INGRESS, EGRESS = 1, 2
_REPLACE = 1  # BPF_TC_F_REPLACE
_F_LOCK = 4

PRIORITY, HANDLE = 7799, 1
"""These two numbers mark our filters among those of a device."""

_LOG_LINES = 12

DEVMAP = 14
"""BPF_MAP_TYPE_DEVMAP of linux/bpf.h."""


class BpfError(InjectorError):
    """A call failed. `code` is the errno."""

    def __init__(self, what: str, code: int, log: str = "") -> None:
        super().__init__(f"{what}: {os.strerror(code)}" + (f"\n{log}" if log else ""))
        self.code = code


class _Hook(Structure):
    _fields_ = (("sz", c_size_t), ("ifindex", c_int), ("attach_point", c_int), ("parent", c_uint32))


class _Filter(Structure):
    _fields_ = (
        ("sz", c_size_t),
        ("prog_fd", c_int),
        ("flags", c_uint32),
        ("prog_id", c_uint32),
        ("handle", c_uint32),
        ("priority", c_uint32),
    )


class _ProgramInfo(Structure):
    # struct bpf_prog_info up to the name; the kernel fills in as many bytes as we pass.
    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("tag", ctypes.c_uint8 * 8),
        ("jited_prog_len", c_uint32),
        ("xlated_prog_len", c_uint32),
        ("jited_prog_insns", c_uint64),
        ("xlated_prog_insns", c_uint64),
        ("load_time", c_uint64),
        ("created_by_uid", c_uint32),
        ("nr_map_ids", c_uint32),
        ("map_ids", c_uint64),
        ("name", ctypes.c_char * 16),
    )


class _MapInfo(Structure):
    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("key_size", c_uint32),
        ("value_size", c_uint32),
        ("max_entries", c_uint32),
    )


_SIGNATURES: dict[str, tuple[object, tuple[object, ...]]] = {
    "bpf_object__open_file": (c_void_p, (c_char_p, c_void_p)),
    "bpf_object__load": (c_int, (c_void_p,)),
    "bpf_object__close": (None, (c_void_p,)),
    "bpf_object__find_map_by_name": (c_void_p, (c_void_p, c_char_p)),
    "bpf_object__find_program_by_name": (c_void_p, (c_void_p, c_char_p)),
    "bpf_program__fd": (c_int, (c_void_p,)),
    "bpf_map__fd": (c_int, (c_void_p,)),
    "bpf_map__reuse_fd": (c_int, (c_void_p, c_int)),
    "bpf_map__set_max_entries": (c_int, (c_void_p, c_uint32)),
    "bpf_map__type": (c_uint32, (c_void_p,)),
    "bpf_map__max_entries": (c_uint32, (c_void_p,)),
    "bpf_map__key_size": (c_uint32, (c_void_p,)),
    "bpf_map__value_size": (c_uint32, (c_void_p,)),
    "bpf_map_create": (c_int, (c_uint32, c_char_p, c_uint32, c_uint32, c_uint32, c_void_p)),
    "bpf_obj_get": (c_int, (c_char_p,)),
    "bpf_obj_pin": (c_int, (c_int, c_char_p)),
    "bpf_obj_get_info_by_fd": (c_int, (c_int, c_void_p, POINTER(c_uint32))),
    "bpf_prog_get_fd_by_id": (c_int, (c_uint32,)),
    "bpf_map_lookup_elem": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_map_update_elem": (c_int, (c_int, c_void_p, c_void_p, c_uint64)),
    "bpf_map_get_next_key": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_tc_hook_create": (c_int, (c_void_p,)),
    "bpf_tc_hook_destroy": (c_int, (c_void_p,)),
    "bpf_tc_attach": (c_int, (c_void_p, c_void_p)),
    "bpf_tc_detach": (c_int, (c_void_p, c_void_p)),
    "bpf_tc_query": (c_int, (c_void_p, c_void_p)),
    "libbpf_num_possible_cpus": (c_int, ()),
}

_PRINT = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError:
        raise InjectorError("libbpf.so.1 is not installed: apt-get install libbpf1") from None
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def require_library() -> None:
    """InjectorError when libbpf is not installed."""
    _library()


class Messages:
    """Collects libbpf's messages, which otherwise go to standard error. A context manager."""

    def __enter__(self) -> Messages:
        self._lines: list[str] = []
        libc = ctypes.CDLL(None)

        def take(level: int, form: bytes, arguments: int) -> int:
            text = ctypes.create_string_buffer(1 << 16)
            libc.vsnprintf(text, c_size_t(len(text)), form, c_void_p(arguments))
            self._lines += text.value.decode(errors="replace").splitlines()
            return 0

        self._callback = _PRINT(take)
        _library().libbpf_set_print(self._callback)
        return self

    def __exit__(self, *_: object) -> None:
        _library().libbpf_set_print(None)

    @property
    def last(self) -> str:
        """The last lines that libbpf printed. The verifier says there why it refuses a program."""
        return "\n".join(self._lines[-_LOG_LINES:])


def _call(name: str, *arguments: object, what: str = "") -> int:
    """Call a function that returns a negative number for an error. BpfError."""
    result = int(getattr(_library(), name)(*arguments))
    if result < 0:
        raise BpfError(what or name, _code(result))
    return result


def _code(result: int) -> int:
    return ctypes.get_errno() or -result


class Map:
    """A map by its descriptor, which close() closes if it is `owned`."""

    def __init__(self, fd: int, owned: bool = True) -> None:
        self.fd = fd
        self._owned = owned
        info, size = _MapInfo(), c_uint32(ctypes.sizeof(_MapInfo))
        _call("bpf_obj_get_info_by_fd", fd, byref(info), byref(size))
        self.kind: int = info.type
        self.key_size: int = info.key_size
        self.value_size: int = info.value_size
        self.max_entries: int = info.max_entries

    @classmethod
    def pinned(cls, path: Path) -> Map:
        """Open a pinned map. BpfError with ENOENT when there is none."""
        return cls(_call("bpf_obj_get", os.fsencode(path), what=str(path)))

    @classmethod
    def make(cls, kind: int, name: str, key_size: int, value_size: int, entries: int) -> Map:
        """A new map, which lives as long as it is open or pinned. `kind`: enum bpf_map_type."""
        return cls(
            _call("bpf_map_create", kind, name.encode(), key_size, value_size, entries, None)
        )

    def close(self) -> None:
        """Close the descriptor. A second call does nothing."""
        if self._owned:
            os.close(self.fd)
        self._owned = False

    def pin(self, path: Path) -> None:
        """Pin the map at `path`, replacing one that is pinned there."""
        fresh = path.with_name(f"{path.name}_new")
        fresh.unlink(missing_ok=True)
        _call("bpf_obj_pin", self.fd, os.fsencode(fresh), what=f"pinning {path}")
        fresh.rename(path)

    def get(self, key: bytes, value_size: int = 0) -> bytes:
        """The value. KeyError when there is none."""
        value = ctypes.create_string_buffer(value_size or self.value_size)
        if _library().bpf_map_lookup_elem(self.fd, key, value) < 0:
            raise KeyError(key)
        return value.raw

    def get_each_cpu(self, key: bytes) -> list[int]:
        """The u64 value of each CPU, of a per-CPU map."""
        count = _call("libbpf_num_possible_cpus")
        raw = self.get(key, 8 * count)
        return [int.from_bytes(raw[at : at + 8], "little") for at in range(0, len(raw), 8)]

    def set(self, key: bytes, value: bytes, locked: bool = False) -> None:
        """Set a value. `locked`: it has a spin lock, so that the program never sees half of it."""
        flags = _F_LOCK if locked else 0
        _call("bpf_map_update_elem", self.fd, key, value, flags)

    def __iter__(self) -> Iterator[bytes]:
        """The keys. Some may be added and removed meanwhile."""
        before: bytes | None = None
        key = ctypes.create_string_buffer(self.key_size)
        while _library().bpf_map_get_next_key(self.fd, before, key) == 0:
            before = key.raw
            yield before


class Object:
    """An object file: open it, choose its maps, load it. A context manager."""

    def __init__(self, path: Path) -> None:
        with Messages() as messages:
            self._object = _library().bpf_object__open_file(os.fsencode(path), None)
        if not self._object:
            raise BpfError(f"opening {path}", ctypes.get_errno(), messages.last)

    def __enter__(self) -> Object:
        return self

    def __exit__(self, *_: object) -> None:
        _library().bpf_object__close(self._object)

    def _find(self, name: str) -> int:
        found = _library().bpf_object__find_map_by_name(self._object, name.encode())
        if not found:
            raise InjectorError(f"the object has no map {name!r}: it is of another version")
        return int(found)

    def resize(self, name: str, entries: int) -> None:
        """Set how many entries a map has. Before load()."""
        _call("bpf_map__set_max_entries", self._find(name), entries)

    def fits(self, name: str, other: Map, any_size: bool = False) -> bool:
        """Whether the object can use `other` as its map `name`; `any_size`: however many entries.

        The kernel would take a map with too few entries, and the program would miss the others.
        """
        mine = self._find(name)
        sizes = [("kind", "type"), ("key_size", "key_size"), ("value_size", "value_size")]
        if not any_size:
            sizes.append(("max_entries", "max_entries"))
        return all(
            getattr(other, theirs) == getattr(_library(), f"bpf_map__{own}")(mine)
            for theirs, own in sizes
        )

    def reuse(self, name: str, other: Map) -> None:
        """Use `other` as the map `name`. Before load()."""
        _call("bpf_map__reuse_fd", self._find(name), other.fd)

    def load(self) -> None:
        """Load the programs into the kernel."""
        with Messages() as messages:
            result = _library().bpf_object__load(self._object)
        if result < 0:
            raise BpfError("the kernel refuses the program", _code(result), messages.last)

    def map(self, name: str) -> Map:
        """One of its maps, as long as the object is open."""
        return Map(_call("bpf_map__fd", self._find(name)), owned=False)

    def program(self, name: str) -> int:
        """The descriptor of a program, as long as the object is open."""
        found = _library().bpf_object__find_program_by_name(self._object, name.encode())
        return _call("bpf_program__fd", found, what=f"program {name}")


def _program(number: int) -> _ProgramInfo:
    """The kernel's data on a program."""
    fd = _call("bpf_prog_get_fd_by_id", number)
    try:
        info, size = _ProgramInfo(), c_uint32(ctypes.sizeof(_ProgramInfo))
        _call("bpf_obj_get_info_by_fd", fd, byref(info), byref(size))
    finally:
        os.close(fd)
    return info


class Hooks:
    """The clsact qdisc of a device, and our filters on it."""

    def __init__(self, ifindex: int) -> None:
        self._ifindex = ifindex

    def _hook(self, points: int) -> _Hook:
        return _Hook(ctypes.sizeof(_Hook), self._ifindex, points, 0)

    def create(self) -> bool:
        """Make the qdisc; False when there is one."""
        try:
            with Messages():
                _call("bpf_tc_hook_create", byref(self._hook(INGRESS | EGRESS)))
        except BpfError as e:
            if e.code != errno.EEXIST:
                raise
            return False
        return True

    def destroy(self) -> None:
        """Remove the qdisc, with all its filters."""
        with Messages():
            _call("bpf_tc_hook_destroy", byref(self._hook(INGRESS | EGRESS)))

    def attach(self, point: int, program: int) -> None:
        """Attach the program, replacing ours if it is attached, in one step."""
        options = _Filter(ctypes.sizeof(_Filter), program, _REPLACE, 0, HANDLE, PRIORITY)
        with Messages():
            _call("bpf_tc_attach", byref(self._hook(point)), byref(options), what="tc filter")

    def detach(self, point: int) -> None:
        """Remove our filter, if it is attached."""
        options = _Filter(ctypes.sizeof(_Filter), 0, 0, 0, HANDLE, PRIORITY)
        try:
            with Messages():
                _call("bpf_tc_detach", byref(self._hook(point)), byref(options))
        except BpfError as e:
            if e.code not in (errno.ENOENT, errno.EINVAL):
                raise

    def name(self, point: int) -> str | None:
        """The name of the program with our priority and handle, or None."""
        options = _Filter(ctypes.sizeof(_Filter), 0, 0, 0, HANDLE, PRIORITY)
        with Messages():
            if _library().bpf_tc_query(byref(self._hook(point)), byref(options)) < 0:
                return None
        info = _program(options.prog_id)
        return bytes(info.name).decode(errors="replace")

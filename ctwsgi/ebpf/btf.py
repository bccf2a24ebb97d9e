# SPDX-License-Identifier: MIT
"""What the kernel's type information (BTF) says about its structs.

The program has it as well: libbpf resolves the program's members from the same files. A member that
depends on the kernel's configuration is asked for here before an option relies on it.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, Structure, c_char_p, c_int, c_uint32, c_void_p
from pathlib import Path

from .errors import InjectorError
from .libbpf import Messages, require_library

_STRUCT = 4
"""BTF_KIND_STRUCT"""

_SIGNATURES: dict[str, tuple[object, tuple[object, ...]]] = {
    "btf__parse_split": (c_void_p, (c_char_p, c_void_p)),
    "btf__find_by_name_kind": (c_int, (c_void_p, c_char_p, c_uint32)),
    "btf__type_by_id": (c_void_p, (c_void_p, c_uint32)),
    "btf__name_by_offset": (c_char_p, (c_void_p, c_uint32)),
    "btf__free": (None, (c_void_p,)),
}


class _Type(Structure):
    # struct btf_type; that of a struct is followed by its members.
    _fields_ = (("name", c_uint32), ("info", c_uint32), ("size", c_uint32))


class _Member(Structure):
    _fields_ = (("name", c_uint32), ("type", c_uint32), ("offset", c_uint32))


def require_mark() -> None:
    """InjectorError when connections have no mark in this kernel."""
    if "mark" not in (members("nf_conn", "nf_conntrack") or {"mark"}):
        raise InjectorError(
            "--mark: this kernel is built without CONFIG_NF_CONNTRACK_MARK: select by --backend"
        )


def members(struct: str, module: str, folder: Path = Path("/sys/kernel/btf")) -> set[str]:
    """The names of a struct's members. Empty when it is not found in the kernel or its module."""
    require_library()
    bpf = ctypes.CDLL("libbpf.so.1")
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(bpf, name)
        function.restype, function.argtypes = result, arguments
    kernel = split = None
    try:
        with Messages():
            kernel = bpf.btf__parse_split(os.fsencode(folder / "vmlinux"), None)
            if kernel and (folder / module).exists():
                split = bpf.btf__parse_split(os.fsencode(folder / module), kernel)
        return _members(bpf, split or kernel, struct) if kernel else set()
    finally:
        bpf.btf__free(split)
        bpf.btf__free(kernel)


def _members(bpf: ctypes.CDLL, btf: int, struct: str) -> set[str]:
    number = bpf.btf__find_by_name_kind(btf, struct.encode(), _STRUCT)
    if number < 0:
        return set()
    address = bpf.btf__type_by_id(btf, number)
    count = _Type.from_address(address).info & 0xFFFF
    found = ctypes.cast(address + ctypes.sizeof(_Type), POINTER(_Member))
    return {bpf.btf__name_by_offset(btf, found[i].name).decode() for i in range(count)}

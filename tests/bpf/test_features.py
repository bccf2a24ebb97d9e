# SPDX-License-Identifier: MIT
"""Kernels that were built with other options, as their type information (BTF) shows them.

The kernel here is the one that runs, and a copy of its BTF without a member takes the place of the
file in /sys/kernel/btf: libbpf reads only that file, so it builds the program for the other kernel.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctwsgi.ebpf.btf import members

from .available import unavailable
from .gateway import DEVICE, Gateway

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))

BTF = Path("/sys/kernel/btf")
_HEADER = struct.Struct("=HBBIIIII")
"""struct btf_header: magic, version, flags, hdr_len, type_off, type_len, str_off, str_len."""

_TAIL = {1: 4, 3: 12, 14: 4, 17: 4}
"""Bytes behind a type of this kind: integer, array, variable, tag of a declaration."""

_EACH = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}
"""Bytes for each member behind a type of this kind."""

_STRUCT = 4


def without(path: Path, name: str, member: str) -> bytes:
    """The BTF of a kernel whose `struct NAME` has no such member: it has another name there."""
    data = bytearray(path.read_bytes())
    head, types, types_len, strings = _parts(data)
    base = 0 if path.name == "vmlinux" else _strings_len((BTF / "vmlinux").read_bytes())

    def text(offset: int) -> str:
        at = strings + offset - base
        return data[at : data.index(b"\0", at)].decode() if offset >= base else ""

    at = head + types
    end = at + types_len
    while at < end:
        named, info, _ = struct.unpack_from("=III", data, at)
        kind, count = info >> 24 & 31, info & 0xFFFF
        at += 12
        if kind == _STRUCT and text(named) == name:
            for place in range(at, at + 12 * count, 12):
                if text(struct.unpack_from("=I", data, place)[0]) == member:
                    struct.pack_into("=I", data, place, named)
                    return bytes(data)
        at += _TAIL.get(kind, 0) + _EACH.get(kind, 0) * count
    raise LookupError(f"{path} has no {name}.{member}")


def _parts(data: bytes | bytearray) -> tuple[int, int, int, int]:
    _, _, _, head, types, types_len, strings, _ = _HEADER.unpack_from(data)
    return head, types, types_len, head + strings


def _strings_len(data: bytes) -> int:
    return int(_HEADER.unpack_from(data)[-1])


@pytest.fixture
def markless(tmp_path: Path) -> Iterator[list[str]]:
    """The words in front of a command that shall see a kernel without CONFIG_NF_CONNTRACK_MARK."""
    assert "mark" in members("nf_conn", "nf_conntrack")
    for name in ("nf_conntrack", "vmlinux"):
        if not (BTF / name).exists():
            continue
        try:
            changed = without(BTF / name, "nf_conn", "mark")
        except LookupError:
            continue
        copy = tmp_path / name
        copy.write_bytes(changed)
        script = f'mount --bind {copy} {BTF / name} && exec "$@"'
        yield ["unshare", "--mount", "sh", "-ec", script, "sh"]
        return
    pytest.fail("no file has struct nf_conn")


def attach(gateway: Gateway, before: list[str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, "-m", "ctwsgi", "gateway", "attach", DEVICE, *words]
    return gateway.lab.gateway.run(command, check=False)


def test_a_kernel_without_marks_can_do_all_the_rest(gateway: Gateway, markless: list[str]) -> None:
    done = attach(gateway, markless)
    assert (done.returncode, done.stderr) == (0, "")
    with gateway.listening() as listener:
        gateway.visit(listener)


def test_a_kernel_without_marks_cannot_select_by_them(
    gateway: Gateway, markless: list[str]
) -> None:
    refused = attach(gateway, markless, "--mark", "1")
    assert (refused.returncode, refused.stdout) == (2, "")
    [line] = refused.stderr.splitlines()
    assert "CONFIG_NF_CONNTRACK_MARK" in line
    assert "--backend" in line

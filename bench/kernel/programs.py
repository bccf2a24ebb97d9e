# SPDX-License-Identifier: MIT
"""Compiles the programs in C when they are missing or older than their sources."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from tests import ROOT

HERE = Path(__file__).parent
BUILD = ROOT / "build" / "bench-kernel"

FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror")
LIBRARY = ("-shared", "-fPIC", "-fvisibility=hidden")

BPF = ("-g", "-Wno-unused-parameter", "-target", "bpfel", "-mcpu=v3", "-isystem")
ASM = f"/usr/include/{platform.machine()}-linux-gnu"
"""Where Debian has asm/types.h."""

FOR_GUEST = ("client", "server", "crowd", "floor.bpf.o")
"""The programs that run in the guest."""


def _command(name: str) -> tuple[str, ...]:
    if name.endswith(".bpf.o"):
        return (os.environ.get("CLANG", "clang"), *FLAGS, *BPF, ASM, "-c")
    kind = LIBRARY if name.endswith(".so") else ()
    return (os.environ.get("CC", "cc"), *FLAGS, *kind)


def build(name: str) -> Path:
    """Build one of FOR_GUEST, or `profile.so`. CalledProcessError when it does not compile."""
    source = (HERE / name).with_suffix(".c")
    made = BUILD / name
    headers = [HERE / "wire.h", *(ROOT / "kmod" / "bpf").glob("*.h")]
    newest = max(path.stat().st_mtime for path in (source, *headers))
    if not made.exists() or made.stat().st_mtime < newest:
        BUILD.mkdir(parents=True, exist_ok=True)
        subprocess.run([*_command(name), "-o", str(made), str(source)], check=True)
    return made

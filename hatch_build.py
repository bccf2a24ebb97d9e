# SPDX-License-Identifier: MIT
"""Builds the eBPF program into the wheel, if there is a compiler for it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROGRAM = "ctwsgi/ebpf/ctproxy.bpf.o"


class ProgramHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs for wheels, editable ones too. Without a compiler it takes an object built before."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before the files are collected."""
        if self.target_name != "wheel":
            return
        built = Path(self.root, PROGRAM)
        if shutil.which("clang") and shutil.which("make"):
            made = subprocess.run(["make", "-C", str(Path(self.root, "kmod/bpf"))])
            if made.returncode and built.exists():
                built.unlink()  # it was built from other sources
        if built.exists():
            build_data["artifacts"].append(PROGRAM)
            return
        # pip shows this with -v only: `ctwsgi gateway` and `ctwsgi check` say it again.
        print(
            "without the eBPF program: apt-get install clang llvm libbpf-dev make, and build again",
            file=sys.stderr,
        )

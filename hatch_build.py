# SPDX-License-Identifier: MIT
"""Puts the eBPF program into the wheel: builds it where clang is, and says so where it is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROGRAM = "ctwsgi/ebpf/ctproxy.bpf.o"


class ProgramHook(BuildHookInterface):  # type: ignore[type-arg]
    """For wheels, editable ones too. An object that is there already is taken as it is."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before the files are collected."""
        if self.target_name != "wheel":
            return
        built = Path(self.root, PROGRAM)
        if shutil.which("clang") and shutil.which("make"):
            made = subprocess.run(["make", "-C", str(Path(self.root, "kmod/bpf"))])
            if made.returncode and built.exists():
                built.unlink()  # of other sources than these
        if built.exists():
            build_data["artifacts"].append(PROGRAM)
            return
        print(
            "without the eBPF program: apt-get install clang llvm libbpf-dev make",
            file=sys.stderr,
        )

# SPDX-License-Identifier: MIT
"""A guest whose clock counts instructions: one processor, each instruction a nanosecond.

With QEMU's -icount the guest's time is the number of instructions that it has executed. When the
guest is idle, its clock jumps to the next timer (sleep=off). So the host's load and speed do not
change a result, and two minutes of rest between two samples take no time.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.kernel import boot
from tests.kernel.kernels import Kernel

EMULATION = (
    *("-accel", "tcg,thread=single,tb-size=512", "-icount", "shift=0,sleep=off"),
    # Without erms the kernel copies eight bytes with an instruction. With it, it would use `rep
    # movsb`, which real processors do fast, but of which -icount counts every byte.
    *("-cpu", "max,-la57,-erms"),
)

NO_SECURITY_MODULES = "lsm="
"""Without it SELinux, which Debian does not enable, checks each packet though it has no policy."""


def run(
    kernel: Kernel, command: str, results: Path, limit: float, plugin: str = ""
) -> boot.Outcome:
    """Boot a guest, run the command, and pass its output on. `plugin` is QEMU's -plugin."""
    emulation = (*EMULATION, *(("-plugin", plugin) if plugin else ()))
    return boot.run(
        kernel,
        command,
        output=lambda piece: os.write(1, piece),
        machine=boot.Machine(
            1,
            limit=limit,
            silence=limit,
            append=NO_SECURITY_MODULES,
            emulation=emulation,
        ),
        results=results,
    )

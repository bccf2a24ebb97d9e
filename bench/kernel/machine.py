# SPDX-License-Identifier: MIT
"""A guest whose clock counts instructions: one processor, each instruction a nanosecond.

With QEMU's -icount the guest's time is the number of instructions that it has executed. Waiting
costs nothing: when the guest has nothing to do, its clock jumps to the next timer (sleep=off). So
neither the host's load nor its speed is seen inside, and two minutes of rest between two
samples are free.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.kernel import boot as guest
from tests.kernel.kernels import Kernel

EMULATION = (
    *("-accel", "tcg,thread=single,tb-size=512", "-icount", "shift=0,sleep=off"),
    # Without `rep movsb` that is fast on real processors: here each byte would count as an
    # instruction. The kernel then copies eight bytes with one.
    *("-cpu", "max,-la57,-erms"),
)

NO_SECURITY_MODULES = "lsm="
"""SELinux would look at each packet, though it has no policy. Debian's default is another one."""


def run(
    kernel: Kernel, command: str, results: Path, limit: float, plugin: str = ""
) -> guest.Outcome:
    """Boots, runs the command, passes its output on. `plugin` is QEMU's -plugin."""
    emulation = (*EMULATION, *(("-plugin", plugin) if plugin else ()))
    return guest.run(
        kernel,
        command,
        output=lambda piece: os.write(1, piece),
        machine=guest.Machine(
            1,
            limit=limit,
            silence=limit,
            append=NO_SECURITY_MODULES,
            emulation=emulation,
        ),
        results=results,
    )

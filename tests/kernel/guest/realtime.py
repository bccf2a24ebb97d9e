# SPDX-License-Identifier: MIT
"""A real-time kernel (PREEMPT_RT): the eBPF program is refused there, and only the module runs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

from ctwsgi.ebpf.host import is_realtime

from .case import Case, Trial
from .endtoend_field import PYTHON, ROOT
from .injector import InjectorUnderTest
from .judge import require
from .places import PLACES

COMMANDS = {("gateway", "attach", "gs"): 2, ("check",): None}
"""What says that the program is refused, and with which exit status, if that is known."""


def cases() -> Iterator[Case]:
    """The cases that only a real-time kernel has; none on other kernels."""
    if is_realtime():
        name = "none/gateway/program-refused"
        yield Case("realtime", name, InjectorUnderTest(), PLACES["gateway"], _refused)


async def _refused(trial: Trial) -> None:
    """`ctwsgi gateway attach` ends with one line, which `ctwsgi check` prints as well."""
    for words, status in COMMANDS.items():
        with trial.gateway.entered():
            done = subprocess.run(
                [PYTHON, "-m", "ctwsgi", *words], cwd=ROOT, capture_output=True, text=True
            )
        said = f"ctwsgi {' '.join(words)}: status {done.returncode}: {done.stdout}{done.stderr}"
        lines = [line for line in (done.stdout + done.stderr).splitlines() if "PREEMPT_RT" in line]
        require(len(lines) == 1 and "use the kernel module" in lines[0], said)
        require(status in (None, done.returncode), said)
        require(status is None or (not done.stdout and len(done.stderr.splitlines()) == 1), said)

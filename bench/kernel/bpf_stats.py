# SPDX-License-Identifier: MIT
"""The duration of the eBPF programs' runs, from the kernel's statistics (kernel.bpf_stats_enabled).

In the guest whose clock counts instructions, a nanosecond is an instruction. A duration includes
reading the clock, and also the run for a header that is sent before data, which is nested in the
run for the data.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kernel.guest.net import Namespace

SWITCH = Path("/proc/sys/kernel/bpf_stats_enabled")

WAYS = ("egress", "ingress")


class Counted:
    """The result, once the `with` block of counted() has ended."""

    found: dict[str, dict[str, float]]


def _programs(space: Namespace, device: str) -> dict[str, int]:
    """The ids of the programs on the device, by egress and ingress."""
    (found,) = json.loads(space.run("bpftool", "-j", "net", "show", "dev", device))
    return {each["kind"].rpartition("/")[2]: each["id"] for each in found["tc"]}


def _runs(program: int) -> tuple[int, int]:
    """How often a program has run, and for how long in total."""
    command = ["bpftool", "-j", "prog", "show", "id", str(program)]
    found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return found.get("run_cnt", 0), found.get("run_time_ns", 0)


@contextmanager
def counted(space: Namespace, device: str) -> Iterator[Counted]:
    """Count the runs of the programs on a device during the `with` block."""
    result = Counted()
    programs = _programs(space, device)
    former = SWITCH.read_text()
    before = {way: _runs(program) for way, program in programs.items()}
    SWITCH.write_text("1")
    try:
        yield result
        result.found = {}
        for way, program in programs.items():
            calls, time = (b - a for a, b in zip(before[way], _runs(program), strict=True))
            result.found[way] = {"calls": calls, "instructions": time / max(calls, 1)}
    finally:
        SWITCH.write_text(former)

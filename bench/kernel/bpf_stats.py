# SPDX-License-Identifier: MIT
"""What a run of the eBPF programs takes, as the kernel counts it: kernel.bpf_stats_enabled.

Its clock is the scheduler's. In the guest that counts instructions a nanosecond is an instruction,
on a machine of one's own it is one. Reading the clock is in it, and so is a run within the run: of
a header that goes before data.
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
    """What was counted; to be asked when it is over."""

    found: dict[str, dict[str, float]]


def _programs(space: Namespace, device: str) -> dict[str, int]:
    """The programs' ids, by where they are."""
    (found,) = json.loads(space.run("bpftool", "-j", "net", "show", "dev", device))
    return {each["kind"].rpartition("/")[2]: each["id"] for each in found["tc"]}


def _runs(program: int) -> tuple[int, int]:
    """How often it ran, and for how long in all."""
    command = ["bpftool", "-j", "prog", "show", "id", str(program)]
    said = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return said.get("run_cnt", 0), said.get("run_time_ns", 0)


@contextmanager
def counted(space: Namespace, device: str) -> Iterator[Counted]:
    """Counts what runs on a device inside the `with`."""
    counted = Counted()
    programs = _programs(space, device)
    former = SWITCH.read_text()
    before = {way: _runs(program) for way, program in programs.items()}
    SWITCH.write_text("1")
    try:
        yield counted
        counted.found = {}
        for way, program in programs.items():
            calls, time = (b - a for a, b in zip(before[way], _runs(program), strict=True))
            counted.found[way] = {"calls": calls, "instructions": time / max(calls, 1)}
    finally:
        SWITCH.write_text(former)

# SPDX-License-Identifier: MIT
"""The rounds of the bench, on this machine instead of in a guest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bpf.available import unavailable

from . import programs
from .plan import WORKLOADS
from .sample import Sample, parse


def rounds(tmp_path: Path, sides: str, *words: str) -> list[Sample]:
    """Run one round of the sides on this machine, without module, and with its clock."""
    for name in programs.FOR_GUEST:
        programs.build(name)
    report = tmp_path / "report"
    words += ("--programs", str(programs.BUILD), "--report", str(report), "--rest", "0")
    words += ("--rounds", "1", "--sides", sides)
    command = [sys.executable, "-m", "bench.kernel.guest", *words]
    subprocess.run(command, check=True, timeout=100, cwd=programs.ROOT)
    _, samples = parse(report.read_text().splitlines())
    # Another processor of this machine may do the work: idle time says nothing.
    samples = [replace(sample, idle=0) for sample in samples]
    assert [sample.fault for sample in samples if sample.fault] == []
    return samples


NEEDS = {"nginx", "haproxy", "bpftool", "clang"}

whole = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, NEEDS)),
    reason=f"needs root and {', '.join(sorted(NEEDS))}",
)


@whole
def test_the_rounds_without_module_on_this_machine(tmp_path: Path) -> None:
    works = [work.name for work in WORKLOADS.values() if not work.delay]  # that takes netem
    samples = rounds(tmp_path, "plain,haproxy", "--workloads", ",".join(works))
    assert len(samples) == 2 * len(works)


@whole
@pytest.mark.skipif(bool(unavailable()), reason=f"no eBPF here: {unavailable()}")
def test_crowd_and_programs_on_this_machine(tmp_path: Path) -> None:
    sides = "plain-1k,ebpf-1k,tc-bare"
    samples = rounds(tmp_path, sides, "--workloads", "connect", "--programs-time")
    counted = [sample for sample in samples if sample.hooks]
    assert (len(samples), len(counted)) == (5, 2)
    for sample in counted:
        assert sample.hooks["egress"]["calls"] >= sample.connections
        assert 0 < sample.hooks["ingress"]["instructions"] < 100_000

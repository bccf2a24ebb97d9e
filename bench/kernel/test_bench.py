# SPDX-License-Identifier: MIT
"""Checks and tables of the bench, and its client against its server: `pytest bench/kernel`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ctwsgi.wire.auth import KeyRing
from ctwsgi.wire.ctframe import encode_stream
from ctwsgi.wire.proxy import encode_v2
from tests.bpf.available import unavailable

from . import hooks, profile, programs
from .gateway import KEY
from .plan import SIDES, WORKLOADS, Aim
from .sample import Sample, parse
from .table import Results, Spread, hook_costs, judge

CLIENT, DIALLED = ("10.62.1.2", 40000), ("198.18.0.1", 80)


def taken(side: str, cost: int, number: int = 0, head: bytes = b"r" * 96) -> Sample:
    """A sample of `connect`, all of whose connections begin with `head`."""
    return Sample(
        SIDES[side],
        WORKLOADS["connect"],
        ticks=cost * 1000,
        idle=0,
        sent=1000,
        received=256_000,
        packets=10_000,
        counters={},
        server={"connections": 1100, "bytes": 1100 * 128, "head": head.hex()},
        round=number,
    )


def beginning(written: bytes) -> Sample:
    """A sample of ctproxy whose connections begin with `written`."""
    sample = taken("ctproxy", 1, head=written + b"rrrr")
    return replace(sample, server={**sample.server, "bytes": 1100 * (128 + len(written))})


def test_spread_is_median_and_quartiles() -> None:
    assert Spread.of([5, 1, 2, 3, 4]) == Spread(2, 3, 4)


def test_ratio_holds_each_sample_against_its_own_round() -> None:
    # In the second round both cost twice as much: the ratio stays the same.
    costs = {"plain": (100, 200), "ctproxy": (125, 250), "haproxy": (300, 600)}
    results = Results(
        taken(side, cost, number)
        for side, pair in costs.items()
        for number, cost in enumerate(pair)
    )
    assert results.ratio("ctproxy", "connect") == Spread(0.8, 0.8, 0.8)
    assert results.share("ctproxy", "connect") == Spread(0.125, 0.125, 0.125)


@pytest.mark.parametrize(
    ("aim", "reached"),
    [
        (Aim("ctproxy", "connect", least=0.8), True),
        (Aim("ctproxy", "connect", least=0.81), False),
        (Aim("ctproxy", "connect", most=0.125), True),
        (Aim("ctproxy", "connect", most=0.12), False),
        (Aim("ctframe", "connect", least=0.1), None),
    ],
)
def test_a_target_is_judged(aim: Aim, reached: bool | None) -> None:
    results = Results(taken(s, c) for s, c in (("plain", 100), ("ctproxy", 125), ("haproxy", 300)))
    assert judge(results, aim)["reached"] is reached


def test_a_range_that_includes_the_aim_reaches_it() -> None:
    costs = [(100, 101), (100, 104), (100, 108)]
    results = Results(
        taken(side, cost, number)
        for number, pair in enumerate(costs)
        for side, cost in zip(("plain", "ctproxy"), pair, strict=True)
    )
    assert judge(results, Aim("ctproxy", "connect", least=0.97))["reached"]
    assert not judge(results, Aim("ctproxy", "connect", least=0.99))["reached"]


def test_a_sample_that_did_its_work_has_no_fault() -> None:
    assert not taken("plain", 1).fault
    assert not beginning(encode_v2(CLIENT, DIALLED)).fault


@pytest.mark.parametrize(
    "sample",
    [
        replace(taken("plain", 1), idle=10),
        replace(taken("plain", 1), received=255_999),
        replace(taken("plain", 1), counters={"ctproxy_headers": 1100}),
        replace(taken("plain", 1), server={**taken("plain", 1).server, "connections": 1099}),
        taken("ctproxy", 1),
        taken("ctframe", 1),
        beginning(encode_v2(CLIENT, ("10.62.2.2", 8080))),
        beginning(encode_v2(("10.62.2.1", 40000), DIALLED)),
    ],
)
def test_a_sample_that_did_something_else_has_one(sample: Sample) -> None:
    assert sample.fault


def test_a_signed_header_must_verify() -> None:
    key = KeyRing.parse(KEY).signer()
    signed = replace(beginning(encode_v2(CLIENT, DIALLED, key=key)), side=SIDES["ctproxy-signed"])
    unsigned = replace(beginning(encode_v2(CLIENT, DIALLED)), side=SIDES["ctproxy-signed"])
    assert not signed.fault
    assert unsigned.fault


def test_frames_are_counted() -> None:
    sample = taken("ctframe", 1, head=encode_stream(DIALLED, b"r" * 88))
    sample = replace(sample, server={**sample.server, "bytes": 1100 * 136})
    assert not replace(sample, counters={"ctframe_frames": 1100}).fault
    assert replace(sample, counters={"ctframe_frames": 1099}).fault


def test_the_tracers_own_part_is_taken_off() -> None:
    text = """
 0)   0.512 us    |  hook_reply [ctinject]();
 0)               |  hook_forward [ctinject]() {
 0)   0.300 us    |    help [ctinject]();
 0)   1.700 us    |  } /* hook_forward [ctinject] */
 0)   0.712 us    |  hook_reply [ctinject]();
"""
    found = hooks.read(text.splitlines())
    assert found["hook_reply"] == {"calls": 2, "instructions": 612}
    assert found["hook_forward"] == {"calls": 1, "instructions": 1700}
    results = Results([replace(taken("ctproxy", 1), hooks=found, packets=2)])
    (row,) = hook_costs(results)
    assert row["packet"] == (2 * 312 + 1400) / 2


def test_a_profile_lays_counts_at_the_function_before(tmp_path: Path) -> None:
    names, counts = tmp_path / "names", tmp_path / "counts"
    names.write_text(
        "ffffffff81000000 T first\nffffffff81000100 t second\tmodule\nffffffff81000200 d data\n"
    )
    counts.write_text("ffffffff81000004 7\nffffffff81000100 2\nffffffff810001f0 3\n401000 5\n")
    found = profile.instructions(counts, names)
    assert found == {"first": 7, "second module": 5, "user space": 5}


def page(side: str, body: str) -> Sample:
    """A sample of `nginx` whose last answer says `body`."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + body.encode()
    return replace(
        taken(side, 1),
        workload=WORKLOADS["nginx"],
        received=1000 * len(answer),
        server={},
        last=answer.hex(),
    )


def test_nginx_says_what_it_has_understood() -> None:
    assert not page("plain", "none").fault
    assert not page("ebpf", "10.62.1.2 198.18.0.4").fault
    assert page("ebpf", "none").fault
    assert page("ebpf", "10.62.1.2 10.62.2.2").fault
    assert replace(page("plain", "none"), received=1).fault


def test_a_side_is_held_against_its_own_base() -> None:
    costs = {"plain": 100, "plain-1k": 200, "ebpf-1k": 250}
    results = Results(taken(side, cost) for side, cost in costs.items())
    assert results.ratio("ebpf-1k", "connect") == Spread(0.8, 0.8, 0.8)


def test_each_stream_is_a_connection() -> None:
    eight = replace(
        taken("plain", 1),
        workload=WORKLOADS["upload-8"],
        sent=8000,
        received=8000,
        server={"connections": 8, "bytes": 8000, "head": ""},
    )
    assert not eight.fault
    assert replace(eight, server={**eight.server, "connections": 1}).fault


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
    assert len(rounds(tmp_path, "plain,haproxy")) == 2 * len(WORKLOADS)


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

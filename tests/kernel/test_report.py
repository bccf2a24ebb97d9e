# SPDX-License-Identifier: MIT
"""However a guest ends, the count is a success only when all cases ran and passed."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from .boot import DIED, TIMED_OUT, Machine, Outcome
from .kernels import Kernel, MissingError, NotOfferedError
from .report import Run, print_run, print_total
from .suites import add_options, collect
from .suites import run as run_kernel

BEGUN = {"suite": "matrix", "begin": "small-clean"}
PASSED = {"suite": "matrix", "case": "small-clean", "ok": True, "why": "", "seconds": 1.5}
FAILED = {"suite": "life", "case": "unload", "ok": False, "why": "2 flows left", "seconds": 0.5}


def run_of(tmp_path: Path, lines: list[object], outcome: Outcome) -> Run:
    told = tmp_path / "report.jsonl"
    told.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = Run("6.12", "6.12.1")
    collect(run, outcome, told)
    return run


def failures(run: Run) -> list[str]:
    return [f"{case}: {case.why.splitlines()[0]}" for case in run.failed]


def test_passed(tmp_path: Path) -> None:
    run = run_of(tmp_path, [BEGUN, PASSED], Outcome(0))
    assert (len(run.cases), failures(run)) == (1, [])


def test_failed(tmp_path: Path) -> None:
    run = run_of(tmp_path, [BEGUN, PASSED, FAILED], Outcome(1))
    assert failures(run) == ["life/unload: 2 flows left"]


def test_complaint_of_the_kernel(tmp_path: Path) -> None:
    log = "<14>[3.0] ctwsgi: command\n<14>[4.0] ctwsgi: case matrix/small-clean\n"
    run = run_of(tmp_path, [BEGUN, PASSED], Outcome(0, log=log + "<4>[5.0] WARNING: odd\n"))
    assert failures(run) == ["matrix/small-clean: WARN: WARNING: odd"]


def test_complaint_during_a_case_that_failed_anyway(tmp_path: Path) -> None:
    log = "<14>[3.0] ctwsgi: command\n<14>[4.0] ctwsgi: case life/unload\n"
    run = run_of(tmp_path, [FAILED], Outcome(1, log=log + "<4>[5.0] WARNING: odd\n"))
    assert failures(run) == ["life/unload: 2 flows left"]
    assert "WARNING: odd" in run.failed[0].why


def test_complaint_outside_of_the_cases(tmp_path: Path) -> None:
    run = run_of(tmp_path, [BEGUN, PASSED], Outcome(0, log="<3>[3.0] ctinject: no such symbol\n"))
    assert failures(run) == ["kernel log/outside of the cases: error: ctinject: no such symbol"]


def test_death_is_laid_at_the_case_that_was_running(tmp_path: Path) -> None:
    log = "[5.0] BUG: unable to handle page fault\n[5.1] Kernel panic - not syncing: Fatal\n"
    run = run_of(tmp_path, [FAILED, BEGUN], Outcome(DIED, "the guest died", log))
    assert failures(run) == ["life/unload: 2 flows left", "matrix/small-clean: the guest died"]
    assert "page fault" in run.failed[1].why


def test_death_in_the_middle_of_a_line(tmp_path: Path) -> None:
    (tmp_path / "report.jsonl").write_text(json.dumps(BEGUN) + "\n" + json.dumps(PASSED)[:20])
    run = Run("6.12")
    collect(run, Outcome(DIED, "the guest died", "no more\n"), tmp_path / "report.jsonl")
    assert failures(run) == ["matrix/small-clean: the guest died"]


def test_timed_out(tmp_path: Path) -> None:
    run = run_of(tmp_path, [BEGUN], Outcome(TIMED_OUT, "silent for 180 s", "last words\n"))
    assert failures(run) == ["matrix/small-clean: silent for 180 s"]
    assert "last words" in run.failed[0].why


def test_nothing_ran(tmp_path: Path) -> None:
    assert failures(run_of(tmp_path, [], Outcome(0)))
    assert failures(run_of(tmp_path, [], Outcome(1)))


def test_status_without_a_failed_case(tmp_path: Path) -> None:
    assert failures(run_of(tmp_path, [BEGUN, PASSED], Outcome(3)))


def test_case_that_never_ended(tmp_path: Path) -> None:
    """A suite that exits early with status 0 is a failure."""
    assert failures(run_of(tmp_path, [PASSED, {**BEGUN, "begin": "big"}], Outcome(0)))


def without_a_kernel(error: MissingError) -> Run:
    def kernel() -> Kernel:
        raise error

    parser = argparse.ArgumentParser()
    add_options(parser)
    return run_kernel("6.1", kernel, parser.parse_args([]), Machine())


def test_a_kernel_that_apt_does_not_offer_is_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    skipped = without_a_kernel(NotOfferedError("apt offers no 6.1"))
    print_run(skipped)
    assert print_total([skipped]) == 5
    lines = capsys.readouterr().out.split("\n")
    assert "Linux 6.1 is skipped: apt offers no 6.1" in lines
    assert "0 passed, 0 failed, 1 skipped" in lines


def test_beside_a_skipped_kernel_the_other_one_counts(tmp_path: Path) -> None:
    skipped = without_a_kernel(NotOfferedError("apt offers no 6.1"))
    assert print_total([skipped, run_of(tmp_path, [BEGUN, PASSED], Outcome(0))]) == 0
    assert print_total([skipped, run_of(tmp_path, [FAILED], Outcome(1))]) == 1


def test_a_kernel_that_cannot_be_fetched_is_a_failure() -> None:
    run = without_a_kernel(MissingError("apt cannot download Linux 6.1"))
    assert failures(run) == ["harness/kernel: apt cannot download Linux 6.1"]
    assert print_total([run]) == 1

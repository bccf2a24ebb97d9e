# SPDX-License-Identifier: MIT
"""Tests one kernel: builds the module, boots one guest, runs the suites in it, reads the outcome.

An error on the way becomes a failed case, never an exception. The kernel's log and the report stay
in build/kernel-tests.
"""

from __future__ import annotations

import argparse
import os
import shlex
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests import ROOT

from . import boot, kmsg, report
from .kernels import Kernel, MissingError, NotOfferedError
from .module import BuildError, build

RESULTS = ROOT / "build" / "kernel-tests"

PYTHON = "/usr/bin/python3 -E -s"
"""Debian's interpreter starts in half a second under emulation, a pyenv shim in five seconds."""

CONSOLE_LINES = 40
"""Lines of the console that are shown when none of them explains why the guest ended."""


class Lines:
    """Prints a guest's output in whole lines, with the kernel's name in front of each."""

    _lock = threading.Lock()

    def __init__(self, name: str) -> None:
        self._name = name
        self._rest = b""

    def __call__(self, piece: bytes) -> None:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        with self._lock:
            for line in lines:
                print(f"{self._name:<5} {line.decode(errors='replace').rstrip()}", flush=True)

    def end(self) -> None:
        """Prints the unfinished last line, which a guest that died leaves behind."""
        if self._rest:
            self(b"\n")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that choose what is run on each kernel."""
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", action="store_true", help="the whole matrix")
    size.add_argument("--smoke", action="store_true", help="a few cases, in less than a minute")
    parser.add_argument(
        "--helper", choices=("none", "ctframe", "ctproxy", "ebpf"), help="only this one"
    )
    parser.add_argument("--suite", action="append", help="only this one; may be repeated")
    parser.add_argument("--case", help="only the cases whose name matches this pattern")
    parser.add_argument("-x", "--first", action="store_true", help="end at the first failure")


def run(
    name: str,
    kernel: Callable[[], Kernel],
    options: argparse.Namespace,
    machine: boot.Machine,
    script: str = "{suite}",
    mistake: int = 0,
) -> report.Run:
    """Runs what `options` choose on `kernel()`. `script` is bash, `{suite}` the suites' command.

    `mistake`: the number of the deliberate mistake that the module is built with; 0: none.
    """
    began = time.monotonic()
    size = tuple(f"--{size}" for size in ("full", "smoke") if getattr(options, size))
    outcome = report.Run(name, size=size)
    try:
        found = kernel()
        outcome.version = found.version
        module = None if options.helper in ("none", "ebpf") else build(found, mistake)
    except NotOfferedError as error:
        outcome.skipped = str(error)
    except MissingError as error:
        outcome.fail("harness", "kernel", str(error))
    except BuildError as error:
        outcome.fail("harness", "build", str(error))
    else:
        RESULTS.mkdir(parents=True, exist_ok=True)
        # A folder for each run, because two runs may be under way at once.
        with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=RESULTS) as folder:
            told = Path(folder, "report.jsonl")
            command = script.format(suite=_command(told, module, options))
            _run_guest(found, command, machine, told, outcome, options.first)
    outcome.seconds = time.monotonic() - began
    return outcome


def _command(told: Path, module: Path | None, options: argparse.Namespace) -> str:
    words = [*shlex.split(PYTHON), "-m", "tests.kernel.guest", "--report", str(told)]
    words += ["--module", str(module)] if module else []
    words += ["--full"] if options.full else []
    words += ["--smoke"] if options.smoke else []
    for suite in options.suite or ():
        words += ["--suite", suite]
    for option in ("helper", "case"):
        given = getattr(options, option)
        words += [f"--{option}", given] if given else []
    return shlex.join(words)


def _run_guest(
    kernel: Kernel,
    command: str,
    machine: boot.Machine,
    told: Path,
    run: report.Run,
    first: bool,
) -> None:
    def enough() -> bool:
        return first and not all(case.ok for case in report.read(told)[0])

    say = Lines(run.kernel)
    outcome = boot.run(
        kernel, command, output=say, machine=machine, results=told.parent, enough=enough
    )
    say.end()
    run.boot, run.notes = outcome.boot, outcome.notes
    collect(run, outcome, told)
    (RESULTS / f"{run.kernel}.log").write_text(outcome.log)
    if told.exists():
        os.replace(told, RESULTS / f"{run.kernel}.jsonl")


def collect(run: report.Run, outcome: boot.Outcome, told: Path) -> None:
    """Adds to `run` what the suite in the guest reported, the kernel log, and how the guest
    ended."""
    run.cases, running = report.read(told)
    if outcome.stopped:
        return
    findings = kmsg.scan(outcome.log)
    if outcome.reason:
        # The panic that ended the guest, or else the end of its console.
        last = findings.pop().lines if findings else outcome.log.splitlines()[-CONSOLE_LINES:]
        suite, case = running or ("guest", "no case was running")
        run.fail(suite, case, "\n".join((outcome.reason, *last)))
    for finding in findings:
        suite, _, case = finding.case.partition("/")
        run.fail(suite or "kernel log", case or "outside of the cases", finding.text)
    if outcome.reason:
        return
    if running:
        run.fail(*running, f"did not end; the suite did, with status {outcome.status}")
    elif not run.cases:
        run.fail("guest", "suite", f"no case ran; the exit status was {outcome.status}")
    elif outcome.status and not run.failed:
        run.fail("guest", "suite", f"no case failed, but the exit status was {outcome.status}")

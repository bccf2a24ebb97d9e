# SPDX-License-Identifier: MIT
"""Build each deliberate mistake into the eBPF program: one of the cases must fail.

Runs on this machine's own kernel. Each mistake is tried with the cases that should notice it until
the first one fails, with `--all` with all cases. Without a mistake the same cases must pass. The
last line counts mistakes, not cases.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ctwsgi.ebpf.errors import InjectorError
from ctwsgi.ebpf.libbpf import Object
from tests import ROOT
from tests.bpf.available import unavailable
from tests.mistakes import PatchError, numbered, patched, title
from tests.stages.outcomes import FAILED, PASSED, Writer, skip

from . import CASES, PATCHES, SOURCE

OBJECT = Path("ctwsgi/ebpf/ctproxy.bpf.o")
"""Where a checkout has its program."""

BUILD = ROOT / "build"

LIMIT = 1200
"""Seconds for the cases of one mistake."""


@dataclass(frozen=True)
class Noticed:
    """`failed`: the first case that failed, and why. `broken`: why no case could be run."""

    failed: str = ""
    broken: str = ""

    def problem(self, mistake: int) -> str:
        """What is wrong about this outcome, if anything. Only without a mistake all cases pass."""
        if self.broken or not mistake:
            return self.broken or self.failed
        return "" if self.failed else "no case failed"


@contextmanager
def _checkout(mistake: int) -> Iterator[Path]:
    """A folder like this checkout, without the program: links to everything beside it."""
    folder = BUILD / "bpf-mistakes" / str(mistake)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        _link(ROOT, folder, {OBJECT.parts[0], BUILD.name, ".git"})
        _link(ROOT / OBJECT.parts[0], folder / OBJECT.parts[0], {OBJECT.parts[1]})
        _link(ROOT / OBJECT.parent, folder / OBJECT.parent, {OBJECT.name})
        yield folder
    finally:
        shutil.rmtree(folder)


def _link(source: Path, target: Path, without: set[str]) -> None:
    target.mkdir(exist_ok=True)
    for path in source.iterdir():
        if path.name not in {*without, "__pycache__"}:
            (target / path.name).symlink_to(path)


def _build(mistake: int, folder: Path) -> str:
    """Build the program with the mistake. What patch, compiler or kernel say against it, if any."""
    source = SOURCE
    try:
        if mistake:
            source = patched(SOURCE, numbered(PATCHES)[mistake], folder / "patched")
    except PatchError as e:
        return str(e)
    command = ["make", "-s", "-C", str(source), f"OBJECT={folder / OBJECT}"]
    made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if made.returncode:
        return made.stdout
    try:
        with Object(folder / OBJECT) as program:
            program.load()
    except InjectorError as e:
        return str(e)
    return ""


def _run(mistake: int, cases: list[str]) -> Noticed:
    """Run the cases with that mistake until one fails."""
    with _checkout(mistake) as folder:
        if why := _build(mistake, folder):
            return Noticed(broken=why)
        report = folder / "report.jsonl"
        words = [sys.executable, "-m", "tests.bpf", "--full", "-x", "--report", str(report)]
        for case in cases:
            words += ["--case", f"ebpf/{case}"]
        try:
            subprocess.run(words, cwd=folder, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            return Noticed(broken=f"not done within {LIMIT} s")
        ended = [json.loads(line) for line in report.read_text().splitlines()]
    ended = [line for line in ended if "case" in line]
    if not ended:
        return Noticed(broken="no case was run")
    failed = [f"{line['suite']}/{line['case']}: {line['why']}" for line in ended if not line["ok"]]
    return Noticed(failed="".join(failed[:1]))


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="tests.bpf.mistakes", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--mistake",
        type=int,
        action="append",
        choices=(0, *CASES),
        help="only this one, 0 for none; repeatable",
    )
    parser.add_argument("--all", action="store_true", help="with all cases")
    parser.add_argument("--outcomes", type=Path, help="write each outcome, see tests/stages")
    options = parser.parse_args()
    if why := unavailable():
        return skip(options.outcomes, "the eBPF program's deliberate mistakes", why)
    writer = Writer(options.outcomes)
    mistakes = [mistake for mistake in options.mistake or CASES if mistake]
    parts = {mistake: "*" if options.all else CASES[mistake] for mistake in mistakes or CASES}
    titles = {number: title(patch) for number, patch in numbered(PATCHES).items()}
    rows, passed = [], 0
    for mistake in (0, *mistakes):
        began = time.monotonic()
        writer.begin(f"mistake {mistake}")
        outcome = _run(mistake, [parts[mistake]] if mistake else sorted({*parts.values()}))
        seconds = time.monotonic() - began
        why = outcome.problem(mistake)
        passed += not why
        again = ["-m", "tests.bpf.mistakes", "--mistake", str(mistake)]
        writer.end(f"mistake {mistake}", FAILED if why else PASSED, why, again, seconds)
        does = titles[mistake] if mistake else "none: all of these cases pass"
        noticed = f"**{why}**" if why else outcome.failed or "-"
        rows.append(f"| {mistake} | {does} | {seconds:.0f} | {noticed} |")
    writer.complete()
    print("\n| mistake | | seconds | noticed by |\n| ---: | --- | ---: | --- |")
    print("\n".join(rows))
    print(f"\n{passed} passed, {len(rows) - passed} failed")
    return int(passed != len(rows))


if __name__ == "__main__":
    sys.exit(main())

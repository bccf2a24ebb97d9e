# SPDX-License-Identifier: MIT
"""Each deliberate mistake in the eBPF program must turn a case red, on this machine's own kernel.

    python -m tests.bpf.bugs [--bug N]... [--all]

CTPROXY_BUG=N on the make line builds mistake N into the program; kmod/bpf says which at the places
in question. Each is looked for until the first case fails, in the part of the cases that ought to
notice it, with `--all` in all of them. Without a mistake the same parts must be green. Mistakes,
not cases, are counted.
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

from ctwsgi.ebpf.errors import GatewayError
from ctwsgi.ebpf.libbpf import Object
from tests.stages import BUILD, ROOT

from .available import unavailable

OBJECT = Path("ctwsgi/ebpf/ctproxy.bpf.o")
"""Where a checkout has its program."""

LIMIT = 1200
"""Seconds for the cases of one mistake."""


@dataclass(frozen=True)
class Mistake:
    """What it does, and the cases that ought to notice."""

    does: str
    cases: str


MISTAKES = {
    1: Mistake("a lost header is not sent again", "gateway/syn-cookies/small/header-lost"),
    2: Mistake("what is not found in the table is passed", "gateway/no-syn"),
    3: Mistake("data is passed before the server has answered", "gateway/syns-*"),
    4: Mistake("data below the first byte is passed", "gateway/ended-*"),
    5: Mistake("SACK blocks stay where the ack is raised", "gateway/honest-*"),
    6: Mistake("ICMP errors are not corrected", "gateway/rejected/*"),
    7: Mistake("a flow goes with its conntrack entry, cookies or not", "gateway/other-kind-*"),
    8: Mistake("a reset takes the flow away", "gateway/other-kind-*"),
    9: Mistake("a connection may open twice", "gateway/syns-*"),
    10: Mistake("a signature's second block counts as a whole one", "gateway6/signed/*"),
}


@dataclass(frozen=True)
class Outcome:
    """The first case that failed and why, or neither; `broken` when nothing could be tried."""

    first: str = ""
    broken: str = ""


@contextmanager
def _checkout(bug: int) -> Iterator[Path]:
    """A folder that is this checkout, but for its program: links to everything beside it."""
    folder = BUILD / "bpf-bugs" / str(bug)
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


def _build(bug: int, target: Path) -> str:
    """Why it cannot be tried: what the compiler or the kernel has to say."""
    words = ["make", "-s", "-C", str(ROOT / "kmod" / "bpf"), f"OBJECT={target}"]
    words += [f"CTPROXY_BUG={bug}"] if bug else []
    made = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if made.returncode:
        return made.stdout
    try:
        with Object(target) as program:
            program.load()
    except GatewayError as e:
        return str(e)
    return ""


def _run(bug: int, cases: list[str]) -> Outcome:
    """The cases with that mistake, until one fails."""
    with _checkout(bug) as folder:
        if why := _build(bug, folder / OBJECT):
            return Outcome(broken=why)
        report = folder / "report.jsonl"
        words = [sys.executable, "-m", "tests.bpf", "--full", "-x", "--report", str(report)]
        for case in cases:
            words += ["--case", f"ebpf/{case}"]
        try:
            subprocess.run(words, cwd=folder, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            return Outcome(broken=f"not done within {LIMIT} s")
        ended = [json.loads(line) for line in report.read_text().splitlines()]
    ended = [line for line in ended if "case" in line]
    if not ended:
        return Outcome(broken="no case was run")
    failed = [f"{line['suite']}/{line['case']}: {line['why']}" for line in ended if not line["ok"]]
    return Outcome(first="".join(failed[:1]))


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="tests.bpf.bugs", description=__doc__.splitlines()[0])
    parser.add_argument("--bug", type=int, action="append", choices=MISTAKES, help="only this one")
    parser.add_argument("--all", action="store_true", help="in all cases")
    options = parser.parse_args()
    if why := unavailable():
        print(f"the eBPF program's deliberate mistakes are not tried on this kernel: {why}")
        print("\n0 passed, 0 failed, 1 skipped")
        return 5
    bugs = options.bug or list(MISTAKES)
    parts = {bug: ["*"] if options.all else [MISTAKES[bug].cases] for bug in bugs}
    rows, passed = [], 0
    for bug in (0, *bugs):
        began = time.monotonic()
        cases = parts[bug] if bug else sorted({case for part in parts.values() for case in part})
        outcome = _run(bug, cases)
        does = MISTAKES[bug].does if bug else "none: all of these cases"
        passed += not outcome.broken and bool(outcome.first) == bool(bug)
        nobody = "**not noticed**" if bug else "nobody"
        said = outcome.broken or outcome.first or nobody
        rows.append(f"| {bug} | {does} | {time.monotonic() - began:.0f} | {said} |")
    print("\n| mistake | | seconds | noticed by |\n| ---: | --- | ---: | --- |")
    print("\n".join(rows))
    print(f"\n{passed} passed, {len(rows) - passed} failed")
    return int(passed != len(rows))


if __name__ == "__main__":
    sys.exit(main())

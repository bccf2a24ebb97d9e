# SPDX-License-Identifier: MIT
"""`make bench-kernel`: builds, boots one guest, runs the rounds, prints a table and the targets.

    python -m bench.kernel [--kernel 6.1] [--rounds 3] [--sides plain,ctproxy] [--workloads upload]
    python -m bench.kernel --profile ctproxy [--against plain] [--workloads connect]

Writes build/bench-kernel.json. The exit status is 1 when a sample is invalid, and 5, as pytest's,
when this machine cannot run it. A target that is missed does not change it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.kernel import boot
from tests.kernel.kernels import SERIES, Kernel, MissingError, get
from tests.kernel.module import BuildError, build

from . import machine, profile, programs, table
from .plan import AIMS, PLAIN, SIDES, WORKLOADS
from .sample import parse

RESULTS = boot.ROOT / "build" / "bench-kernel"
JSON = boot.ROOT / "build" / "bench-kernel.json"

PYTHON = "/usr/bin/python3 -E -s"

NOTHING_RAN = 5
LIMIT = 3600.0
"""Seconds. The default rounds take ten minutes; a busy host takes longer, with the same results."""

CLOCK_ERROR = 0.01
"""The timer sometimes interrupts the loop that checks the clock."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.kernel", description=__doc__)
    parser.add_argument("--kernel", choices=SERIES, default="6.12")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--module", type=Path, help="another ctinject.ko than this tree's")
    parser.add_argument("--flood", action="store_true", help="a SYN flood instead: flood.py")
    parser.add_argument("--profile", metavar="SIDE", help="by function, beside --against's")
    parser.add_argument("--against", metavar="SIDE", default=PLAIN)
    return parser.parse_args()


def lacking() -> list[str]:
    """Debian packages that are missing."""
    more = ("haproxy", "nginx", "bpftool", "clang")
    return boot.lacking() + [name for name in more if not shutil.which(name)]


def run_in_guest(kernel: Kernel, words: list[str], plugin: str = "", module: str = "guest") -> Path:
    """Run a module of this package in a guest. Its report; SystemExit when the guest has failed."""
    report = RESULTS / "report.jsonl"
    report.unlink(missing_ok=True)
    for name in programs.FOR_GUEST:
        programs.build(name)
    command = [*shlex.split(PYTHON), "-m", f"bench.kernel.{module}"]
    command += ["--programs", str(programs.BUILD), "--report", str(report), *words]
    outcome = machine.run(kernel, shlex.join(command), RESULTS, LIMIT, plugin)
    (RESULTS / "dmesg").write_text(outcome.log)
    if outcome.reason or outcome.status:
        sys.exit(f"the guest: {outcome.reason or f'status {outcome.status}'}; see {RESULTS}/dmesg")
    return report


def version(*command: str) -> str:
    """The first line of what a program prints about its version."""
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return output.splitlines()[0]


def compare(kernel: Kernel, options: argparse.Namespace, words: list[str]) -> int:
    """Run the rounds; print the table and the targets."""
    facts = {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "guest": kernel.version,
        "emulator": version("qemu-system-x86_64", "--version"),
        "haproxy": version("haproxy", "-v"),
        "rounds": options.rounds,
        "load_average": os.getloadavg(),
    }
    began = time.monotonic()
    report = run_in_guest(
        kernel, [*words, "--rounds", str(options.rounds), "--hooks", "--programs-time"]
    )
    clock, samples = parse(report.read_text().splitlines())
    facts["seconds"] = round(time.monotonic() - began)
    faults = [f"{s.side.name} {s.workload.name}: {s.fault}" for s in samples if s.fault]
    if abs(clock - 1) > CLOCK_ERROR:
        faults.append(f"the clock counts {clock:.3f} for an instruction")
    results = table.Results(sample for sample in samples if not sample.fault)
    print(
        f"\n{facts['started']}  Linux {kernel.version}, {options.rounds} rounds in one guest, ",
        end="",
    )
    print(f"{facts['seconds']} s; {facts['emulator']}; {facts['haproxy']}")
    tables = (table.table(results), table.hook_table(results), table.runs_table(results))
    print(*filter(None, tables), sep="\n\n", end="\n\n")
    for aim in AIMS:
        print(table.target_line(table.judge(results, aim)))
    print(*(f"INVALID: {fault}" for fault in faults), sep="\n")
    JSON.write_text(table.as_json(results, faults, facts))
    return 1 if faults else 0


def profiles(kernel: Kernel, options: argparse.Namespace, words: list[str]) -> int:
    """Compare two sides in one round, function by function."""
    folder = RESULTS / "profile"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    words += ["--rounds", "1", "--symbols", str(folder)]
    plugin = f"{programs.build('profile.so')},out={folder / 'counts'}"
    _, samples = parse(run_in_guest(kernel, words, plugin).read_text().splitlines())
    # Number 0 is the loop that checks the clock.
    counted = {
        (sample.side.name, sample.workload.name): profile.instructions(
            folder / f"counts.{number}", folder / str(number)
        )
        for number, sample in enumerate(samples, 1)
    }
    for name in options.workloads.split(","):
        work = WORKLOADS[name]
        print(f"\n{work.title}: {options.profile} beside {options.against}")
        pair = (counted[options.against, name], counted[options.profile, name])
        print(profile.difference(*pair, work.units, work.unit))
    return 0


def main() -> int:
    options = arguments()
    if packages := lacking():
        print(f"install {' '.join(packages)}")
        return NOTHING_RAN
    RESULTS.mkdir(parents=True, exist_ok=True)
    sides = f"{options.against},{options.profile}" if options.profile else options.sides
    try:
        kernel = get(options.kernel)
        module = options.module or build(kernel)
    except (MissingError, BuildError) as error:
        print(error)
        return 1
    if options.flood:
        run_in_guest(kernel, [], module="flood")
        return 0
    words = ["--module", str(module), "--sides", sides, "--workloads", options.workloads]
    return profiles(kernel, options, words) if options.profile else compare(kernel, options, words)


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MIT
"""`python -m bench`: measures, prints a table and the targets, writes build/bench.json."""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
import tempfile
from pathlib import Path

from .build import BUILD, build_loadgen
from .measure import FULL, QUICK, measure, progress
from .servers import Server
from .sides import Row, rows
from .table import as_json, machine, machine_line, table, target_line, targets

PROFILE_SECONDS = 10.0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute, and rough")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        help="rows by name, as 'ours*-keepalive'; repeatable. Ratios need their reference as well",
    )
    parser.add_argument("--list", action="store_true", help="print the names of the rows and stop")
    parser.add_argument(
        "--profile", metavar="ROW", help="where the CPU time of this row (ours-...) goes"
    )
    return parser.parse_args()


def make_keys(directory: Path) -> None:
    path = directory / "keys"
    path.touch(mode=0o600)
    path.write_text(f"1 {secrets.token_hex(32)}\n")


def compare(chosen: list[Row], quick: bool, directory: Path) -> int:
    """Returns the exit status: 1 when a row is invalid. It does not depend on the speed."""
    facts, plan = machine(), QUICK if quick else FULL
    print(machine_line(facts), flush=True)
    results = measure(chosen, plan, directory)
    print(table(results), end="\n\n")
    for target in targets(results):
        print(target_line(target))
    (BUILD / "bench.json").write_text(as_json(results, plan, facts))
    return 1 if any(result.invalid for result in results) else 0


def profile(row: Row, directory: Path) -> int:
    report = BUILD / f"profile-{row.name}.txt"
    server = Server(row.side, directory, ("--profile", str(report)))
    try:
        server.wait_ready()
        progress(f"{row.name}: {PROFILE_SECONDS:.0f} s under load")
        run = server.loadgen.run(
            *row.workload.options, expect=row.workload.expect, seconds=PROFILE_SECONDS
        )
    finally:
        server.stop()
    progress("")
    print(f"{row.name}: {run.rps:.0f} req/s while sampled; {run.fault or 'no errors'}")
    print(report.read_text())
    return 1 if run.fault else 0


def main() -> int:
    options = parse()
    chosen = rows([options.profile] if options.profile else options.only)
    if not chosen:
        print("no row of that name; --list shows them", file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(row.name for row in chosen))
        return 0
    if options.profile and not chosen[0].side.can_profile:
        print(f"{chosen[0].name}: only in-process servers can be sampled", file=sys.stderr)
        return 2
    # SIGTERM raises, like Ctrl-C, so that the servers are stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    build_loadgen()
    with tempfile.TemporaryDirectory(prefix="ctwsgi-bench-") as name:
        directory = Path(name)
        make_keys(directory)
        if options.profile:
            return profile(chosen[0], directory)
        return compare(chosen, options.quick, directory)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

# SPDX-License-Identifier: MIT
"""`python -m bench.portal`: grants for three agents, with a real Redis and real nft sets.

It prints one table and writes build/bench-portal.json. The second half runs beside N sessions
(`--loaded N`, 100000); with 0 it is left out. The figures need processor time, so the file has the
load average of the last five minutes as well. Nothing here asserts on time.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests import ROOT
from tests.lab import Lab
from tests.lab.wait import until
from tests.portal.stores import RedisServer

from .fleet import FLEET, GATEWAYS, Fleet

JSON = ROOT / "build" / "bench-portal.json"

GRANTS = 1000
PACE = 100.0
"""Grants per second in the paced rounds, as when a hall opens its doors."""

Result = dict[str, float]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.portal", description=__doc__)
    parser.add_argument("--loaded", type=int, default=100_000, metavar="N")
    return parser.parse_args()


def propagation(fleet: Fleet, first: int, pace: float) -> Result:
    """Milliseconds from before grant() until all three kernels have announced the element."""
    fleet.neighbours(first, GRANTS)
    observers = list(fleet.observe())
    try:
        asked: dict[str, float] = {}
        began = time.monotonic()
        for number in range(GRANTS):
            if pace:
                time.sleep(max(0.0, began + number / pace - time.monotonic()))
            before = time.monotonic()
            asked[fleet.grant(first + number)] = before
        took = time.monotonic() - began
        end = time.monotonic() + 120.0
        while not all(len(o.seen().keys() & asked.keys()) == GRANTS for o in observers):
            if time.monotonic() > end:
                raise TimeoutError("not all grants came into all gateways")
            # Rarely, because reading takes processor time from the measured programs.
            time.sleep(0.5)
        seen = [observer.seen() for observer in observers]
    finally:
        for observer in observers:
            observer.stop()
    last = sorted(1000 * (max(times[a] for times in seen) - asked[a]) for a in asked)
    return {**quantiles(last), "grants_per_s": GRANTS / took}


def quantiles(values: Sequence[float]) -> Result:
    """Quantiles of sorted values."""
    n = len(values)
    return {"p50": values[n // 2], "p99": values[n * 99 // 100], "max": values[-1]}


def load(fleet: Fleet, count: int, first: int) -> Result:
    """Adds sessions to Redis while no agent runs, then starts an agent in three ways."""
    for agent in fleet.agents.values():
        agent.stop()
    standing = len(fleet.store.snapshot().sessions)
    began = time.monotonic()
    for number in range(count):
        fleet.grant(first + number)
    took = time.monotonic() - began
    total = standing + count
    began = time.monotonic()
    snapshot = len(fleet.store.snapshot().sessions)
    snapshot_s = time.monotonic() - began
    assert snapshot == total
    for node in (getattr(fleet.lab, name) for name in GATEWAYS):
        node.run(["nft", "flush", "ruleset"])
    name = GATEWAYS[1]
    empty = fleet.start(name)
    empty_cpu = fleet.processor(name)
    fleet.wait_elements(name, total)
    fleet.agents[name].signal(signal.SIGKILL)
    until(lambda: fleet.agents[name].returncode is not None, "death")
    full = fleet.start(name)
    full_cpu, memory = fleet.processor(name), fleet.memory(name)
    for other in (GATEWAYS[0], GATEWAYS[2]):
        fleet.start(other)
        fleet.wait_elements(other, total)
    return {
        "sessions": total,
        "grants_into_redis_per_s": count / took,
        "snapshot_s": snapshot_s,
        "start_with_empty_sets_s": empty,
        "of_it_cpu_s": empty_cpu,
        "restart_with_full_sets_s": full,
        "of_that_cpu_s": full_cpu,
        "agent_mb": memory,
        "redis_mb": fleet.redis_memory(),
    }


def main() -> int:
    options = parse()
    results: dict[str, Result] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer(Path(folder)) as redis,
        Lab(FLEET) as lab,
    ):
        fleet = Fleet(lab, redis.url)
        for name in GATEWAYS:
            fleet.start(name)
        rounds(fleet, options.loaded, results)
    results["machine"] = {"cpus": os.cpu_count() or 0, "load_average": os.getloadavg()[1]}
    JSON.parent.mkdir(exist_ok=True)
    JSON.write_text(json.dumps(results, indent=2) + "\n")
    return 0


def rounds(fleet: Fleet, loaded: int, results: dict[str, Result]) -> None:
    """Runs all rounds, and adds their results."""
    results["paced"] = show("paced", propagation(fleet, 0, PACE))
    results["burst"] = show("burst", propagation(fleet, GRANTS, 0))
    if loaded:
        results["load"] = show("load", load(fleet, loaded, 10 * GRANTS))
        results["paced, loaded"] = show("paced, loaded", propagation(fleet, 3 * GRANTS, PACE))
        results["burst, loaded"] = show("burst, loaded", propagation(fleet, 4 * GRANTS, 0))


def show(name: str, result: Result) -> Result:
    """Prints a line of the table. The values of rounds are milliseconds."""
    values = "  ".join(f"{key} {value:,.1f}" for key, value in result.items())
    print(f"{name:<14} {values}", flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())

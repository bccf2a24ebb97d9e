# SPDX-License-Identifier: MIT
"""Takes the samples. Each round has one sample of every row.

So a slow minute of a shared machine affects all rows equally.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .loadgen import Run
from .servers import NotHere, Server, ServerError
from .sides import Row, Side


@dataclass(frozen=True)
class Plan:
    rounds: int
    seconds: float
    warm_up: float


FULL = Plan(rounds=5, seconds=1.0, warm_up=0.2)
QUICK = Plan(rounds=2, seconds=0.35, warm_up=0.1)


@dataclass(frozen=True)
class Sample:
    run: Run
    cpu_seconds: float
    """CPU seconds of the server's process tree during the run."""

    @property
    def us_per_request(self) -> float:
        return self.cpu_seconds / self.run.requests * 1e6

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self.run), "cpu_seconds": self.cpu_seconds}


@dataclass
class Result:
    """A row's samples, one for each round. `invalid` says why they do not count."""

    row: Row
    samples: list[Sample] = field(default_factory=list)
    invalid: str = ""
    skipped: str = ""

    @property
    def usable(self) -> bool:
        return bool(self.samples) and not self.invalid


@contextmanager
def running(sides: Iterable[Side], directory: Path) -> Iterator[dict[str, Server | Exception]]:
    """Starts all sides. Returns them by name, or the NotHere or ServerError of one that failed."""
    found: dict[str, Server | Exception] = {}
    with ExitStack() as stack:
        for side in sides:
            try:
                server = found[side.name] = Server(side, directory)
                stack.callback(server.stop)
            except NotHere as e:
                found[side.name] = e
        for name, started in found.items():
            try:
                if isinstance(started, Server):
                    progress(f"starting {name}")
                    started.wait_ready()
            except ServerError as e:
                found[name] = e
        yield found


def sample(server: Server, row: Row, seconds: float) -> Sample:
    before = server.cpu_seconds()
    run = server.loadgen.run(*row.workload.options, expect=row.workload.expect, seconds=seconds)
    return Sample(run, server.cpu_seconds() - before)


def attempt(result: Result, server: Server, seconds: float) -> Sample | None:
    """Takes a sample. The first fault makes the row invalid; then it returns None."""
    if result.invalid:
        return None
    try:
        taken = sample(server, result.row, seconds)
    except ServerError as e:
        result.invalid = str(e)
        return None
    result.invalid = taken.run.fault
    return taken


def take_round(pairs: list[tuple[Result, Server]], seconds: float) -> None:
    for result, server in pairs:
        if taken := attempt(result, server, seconds):
            result.samples.append(taken)


def measure(rows: list[Row], plan: Plan, directory: Path) -> list[Result]:
    results = [Result(row) for row in rows]
    with running({row.side.name: row.side for row in rows}.values(), directory) as servers:
        live: dict[str, list[tuple[Result, Server]]] = {}
        for result in results:
            server = servers[result.row.side.name]
            if isinstance(server, Server):
                live.setdefault(result.row.workload.name, []).append((result, server))
            elif isinstance(server, NotHere):
                result.skipped = str(server)
            else:
                result.invalid = str(server)
        for workload, pairs in live.items():
            for result, server in pairs:
                attempt(result, server, plan.warm_up)
            for number in range(plan.rounds):
                progress(f"{workload}: round {number + 1} of {plan.rounds}")
                take_round(pairs, plan.seconds)
        progress("")
    return results


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

# SPDX-License-Identifier: MIT
"""Runs the parts of a stage, AT_ONCE at a time, and prints their progress.

With `retry`, a case that failed is run once more, alone, when the others have ended; if it passes
then, it is `flaky`: named, its two logs kept, and no failure of the run. Only CI asks for that.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tests.lab.ending import end_if_told

from .outcomes import FAILED, FLAKY, PASSED, Outcome
from .part import Part, Result, RunningPart

AT_ONCE = 3
"""Parts on two processors: most tests wait as long as they compute."""

EVERY = 30.0
"""Seconds between two lines about what is running."""

LOOK = 0.1


@dataclass(frozen=True)
class Stage:
    """Parts that belong together; the longest come first, so that the last ones end together."""

    name: str
    budget: float
    """Minutes on two processors. A stage that needs more says so, and has not failed."""
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Options:
    """How parts are run."""

    folder: Path
    limit: float
    """Seconds for one part."""
    environ: Mapping[str, str]
    coverage: bool = False
    retry: bool = False


def run(stage: Stage, options: Options) -> list[Result]:
    """Runs all parts of `stage`. Whatever interrupts it, the parts end in order first."""
    folder = options.folder / stage.name
    folder.mkdir(parents=True, exist_ok=True)
    waiting = list(stage.parts)
    running: list[RunningPart] = []
    results: list[Result] = []
    said = time.monotonic()
    try:
        while waiting or running:
            while waiting and _has_place(waiting[0], running):
                running.append(_start(waiting.pop(0), folder, options))
            time.sleep(LOOK)
            end_if_told()
            for part in list(running):
                if result := part.poll():
                    running.remove(part)
                    results.append(result)
                    _say(result)
            said = _say_states(running, said)
    finally:
        _end(running)
    if options.retry:
        results = [_retried(result, folder, options) for result in results]
    return results


def _say_states(running: list[RunningPart], said: float) -> float:
    """Prints each part's state, if EVERY seconds have passed since `said`. Returns when the states
    were printed last."""
    if time.monotonic() - said < EVERY:
        return said
    for part in running:
        print(f"   {part.state()}", flush=True)
    return time.monotonic()


def _end(running: list[RunningPart]) -> None:
    for part in running:
        part.interrupt()
    for part in running:
        while part.poll() is None:
            time.sleep(LOOK)


def _has_place(part: Part, running: list[RunningPart]) -> bool:
    if part.alone or any(other.part.alone for other in running):
        return not running
    return len(running) < AT_ONCE


def _start(part: Part, folder: Path, options: Options) -> RunningPart:
    return RunningPart(
        part,
        folder,
        limit=options.limit,
        environ=options.environ,
        coverage=options.coverage,
    )


def _say(result: Result) -> None:
    failed = sum(each.outcome == FAILED for each in result.outcomes)
    told = f"{failed} of {len(result.outcomes)} FAILED" if failed else "ok"
    print(f"   {result.part.name}: {told}, {result.seconds:.0f} s", flush=True)
    if failed:
        print(result.log.read_text(errors="replace"), flush=True)


def _retried(result: Result, folder: Path, options: Options) -> Result:
    outcomes = [
        _again(each, folder, options)
        if each.outcome == FAILED and each.again and not each.final
        else each
        for each in result.outcomes
    ]
    return replace(result, outcomes=outcomes)


def _again(failure: Outcome, folder: Path, options: Options) -> Outcome:
    """`failure`, or the same case as a flaky one."""
    print(f"   once more, alone: {failure.case}", flush=True)
    name = "again-" + re.sub(r"[^\w.-]+", "-", failure.case)[-100:]
    alone = RunningPart(
        _part_of(failure, name), folder, limit=options.limit, environ=options.environ
    )
    said = time.monotonic()
    try:
        while (result := alone.poll()) is None:
            time.sleep(LOOK)
            end_if_told()
            said = _say_states([alone], said)
    finally:
        _end([alone])
    _say(result)
    passed = any(each.outcome == PASSED for each in result.outcomes)
    if not passed or any(each.outcome == FAILED for each in result.outcomes):
        return failure
    why = f"failed, then passed alone: {failure.why}; logs in {os.path.relpath(folder)}"
    return replace(failure, outcome=FLAKY, why=why)


def _part_of(failure: Outcome, name: str) -> Part:
    flag, tool, *words = failure.again
    assert flag == "-m"
    return Part(name, paths=tuple(words)) if tool == "pytest" else Part(name, module=(tool, *words))

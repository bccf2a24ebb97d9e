# SPDX-License-Identifier: MIT
"""Makes medians, ratios, the table, the targets and build/bench.json from the samples."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from .measure import Plan, Result
from .sides import REFERENCE, WORKLOADS, Workload

PACKAGES = ("gevent", "greenlet", "gunicorn", "httptools", "granian")

# (the line's text, workload, our side, the other side, the highest ratio that we aim at)
TARGETS = (
    ("keep-alive ours/gunicorn-gevent", "keepalive", "ours", REFERENCE, 1 / 4),
    ("keep-alive serve/gunicorn-gevent", "keepalive", "serve", REFERENCE, 1 / 4),
    (
        "new connection proxy v2 ours/gunicorn-gevent",
        *("new", "ours-proxy-v2", f"{REFERENCE}-proxy-v2", 1 / 3),
    ),
    (
        "new connection proxy v2 serve/gunicorn-gevent",
        *("new", "serve-proxy-v2", f"{REFERENCE}-proxy-v2", 1 / 3),
    ),
)

COLUMNS = "{:<26}{:>11}{:>17}{:>10}{:>9}{:>9}{:>8}"
UPLOAD_COLUMN = "{:>14}"


def cpu_us(result: Result) -> list[float]:
    return [sample.us_per_request for sample in result.samples]


def megabytes_per_cpu_second(result: Result) -> float:
    return result.row.workload.body / median(cpu_us(result))


def ratio(result: Result, reference: Result | None) -> float | None:
    """The median of the rounds' ratios of CPU per request. A slow round slows both sides."""
    if reference is None or not (result.usable and reference.usable):
        return None
    return median(
        ours / theirs for ours, theirs in zip(cpu_us(result), cpu_us(reference), strict=True)
    )


def find(results: list[Result], workload: str, side: str) -> Result | None:
    wanted = f"{side}-{workload}"
    return next((result for result in results if result.row.name == wanted), None)


def reference_of(results: list[Result], workload: Workload) -> Result | None:
    """No other server reads frames, so their uploads are compared with the plain upload."""
    return find(results, "upload" if workload.body else workload.name, REFERENCE)


def line(result: Result, reference: Result | None) -> str:
    if result.skipped:
        return f"{result.row.side.name:<26}   skipped: {result.skipped}"
    if not result.usable:
        return f"{result.row.side.name:<26}   INVALID: {result.invalid}"
    costs = cpu_us(result)
    runs = [sample.run for sample in result.samples]
    times = ratio(result, reference)
    text = COLUMNS.format(
        result.row.side.name,
        f"{median(costs):.1f}",
        f"{min(costs):.1f}-{max(costs):.1f}",
        f"{median(run.rps for run in runs):.0f}",
        f"{median(run.p50_us for run in runs):.0f}",
        f"{median(run.p99_us for run in runs):.0f}",
        "" if times is None else f"{times:.2f}",
    )
    if result.row.workload.body:
        text += UPLOAD_COLUMN.format(f"{megabytes_per_cpu_second(result):.0f}")
    return text


def table(results: list[Result]) -> str:
    parts = [f"CPU us per request of the server's process tree; ratio: to {REFERENCE}"]
    for workload in WORKLOADS:
        chosen = [result for result in results if result.row.workload is workload]
        if not chosen:
            continue
        head = COLUMNS.format("", "CPU us/req", "min-max", "req/s", "p50 us", "p99 us", "ratio")
        if workload.body:
            head += UPLOAD_COLUMN.format("MB per CPU s")
        reference = reference_of(results, workload)
        parts += ["", workload.title, head, *(line(result, reference) for result in chosen)]
    return "\n".join(parts)


def targets(results: list[Result]) -> list[dict[str, Any]]:
    found = []
    for text, workload, side, other, aim in TARGETS:
        result = find(results, workload, side)
        value = None if result is None else ratio(result, find(results, workload, other))
        found.append({"what": text, "ratio": value, "aim": aim})
    return found


def target_line(target: dict[str, Any]) -> str:
    value, aim = target["ratio"], target["aim"]
    if value is None:
        return f"target: {target['what']} not measured (aim <= {aim:.2f})"
    verdict = "reached" if value <= aim else "not reached"
    return f"target: {target['what']} {value:.3f} (aim <= {aim:.2f}) {verdict}"


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def processor() -> str:
    for text in Path("/proc/cpuinfo").read_text().splitlines():
        if text.startswith("model name"):
            return text.partition(":")[2].strip()
    return platform.machine()


def machine() -> dict[str, Any]:
    """Facts about the machine, taken before the run: its load average is not ours."""
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "kernel": platform.release(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
    }


def machine_line(facts: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items() if number)
    return (
        f"{facts['started']}  Linux {facts['kernel']}, {facts['cores']} cores of "
        f"{facts['processor']}, load {facts['load_average'][0]:.1f}; "
        f"Python {facts['python']}, {versions}"
    )


def row_json(result: Result, reference: Result | None) -> dict[str, Any]:
    usable = result.usable
    uploaded = usable and result.row.workload.body
    return {
        "side": result.row.side.name,
        "workload": result.row.workload.name,
        "command": result.row.side.command,
        "skipped": result.skipped or None,
        "invalid": result.invalid or None,
        "cpu_us_per_request": median(cpu_us(result)) if usable else None,
        "mb_per_cpu_second": megabytes_per_cpu_second(result) if uploaded else None,
        "ratio": ratio(result, reference),
        "samples": [sample.as_json() for sample in result.samples],
    }


def as_json(results: list[Result], plan: Plan, facts: dict[str, Any]) -> str:
    """The run with all samples, for programs that compare runs."""
    document = {
        "machine": facts,
        "plan": asdict(plan),
        "reference": REFERENCE,
        "rows": [
            row_json(result, reference_of(results, result.row.workload)) for result in results
        ],
        "targets": targets(results),
    }
    return json.dumps(document, indent=1) + "\n"

# SPDX-License-Identifier: MIT
"""`ctwsgi check` and `make demo` on a kernel that has the module loaded."""

from __future__ import annotations

import os
import subprocess

from .case import Trial
from .endtoend_field import PYTHON, ROOT
from .judge import require
from .net import Namespace

RULES = {"ctframe": "frames", "ctproxy": "gateway"}
"""Files of tests/unit/check/rulesets with the rules of kmod/README.md."""


DEMO_LEGS = (
    "ctframe module-gateway",
    "ctframe module-local",
    "proxy module-gateway-signed",
    "proxy module-local-signed",
    "proxy dnat-signed",
)
DEMO_LIMIT = 280.0
"""Seconds; a dozen Python processes start."""


async def check_says(trial: Trial) -> None:
    """The rules of kmod/README.md without the guard; then frames with it, and headers with a
    key."""
    helper = trial.injector.name
    rules = ROOT / "tests" / "unit" / "check" / "rulesets" / f"{RULES[helper]}.nft"
    space = Namespace("check")
    try:
        space.nft(rules.read_text())
        space.nft("flush chain inet origin guard\n")
        _expect(space, 1, f"todo  rules: {helper}, tcp over IPv4 to ", "ct status ! dnat drop")
        if helper == "ctproxy":
            trial.injector.set_keys(space, f"9 {'77' * 16}")
            _expect(space, 0, "is loaded", "ok    keys: headers are signed with key 9", ": signed")
        else:
            space.nft(f"delete table inet origin\n{rules.read_text()}")
            _expect(space, 0, "is loaded", f"ok    rules: {helper}, tcp over IPv4 to ", ": guarded")
    finally:
        space.close()


def _expect(space: Namespace, status: int, *texts: str) -> None:
    with space.entered():
        done = subprocess.run(
            [PYTHON, "-m", "ctwsgi", "check"], cwd=ROOT, capture_output=True, text=True
        )
    said = f"status {done.returncode}: {done.stdout}{done.stderr}"
    require(done.returncode == status, said)
    missing = [text for text in texts if text not in done.stdout]
    require(not missing, f"does not say {missing}: {said}")


async def demo_shows(trial: Trial) -> None:
    """The demo, in its own namespaces, also shows the module's legs."""
    done = subprocess.run(
        [PYTHON, "-m", "tests.lab.demo", "--visits", "1", "--without-portal", "--without-ebpf"],
        cwd=ROOT, capture_output=True, text=True, timeout=DEMO_LIMIT,
        env={**os.environ, "LAB_DEADLINE": str(DEMO_LIMIT)},
    )  # fmt: skip
    said = f"status {done.returncode}: {done.stdout}{done.stderr}"
    require(not done.returncode and "injectors: module ctinject " in done.stdout, said)
    for leg in DEMO_LEGS:
        require(f"\nok {leg} " in done.stdout, f"no leg {leg}: {said}")

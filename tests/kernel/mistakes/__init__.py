# SPDX-License-Identifier: MIT
"""Deliberate mistakes in the kernel module: N.patch makes mistake N in a copy of kmod/ctinject.

python -m tests.kernel.mistakes [--mistake N]... [--kernel 6.12] [--suite NAME] [--case GLOB]
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests import ROOT

PATCHES = Path(__file__).parent
SOURCE = ROOT / "kmod" / "ctinject"


@dataclass(frozen=True)
class Choice:
    """Some cases of a suite in a guest."""

    helper: str
    suite: str
    case: str = "*"
    says: str = ""
    """What the failure must say; empty: anything."""


SELF_TEST = "ctinject: not loaded"
"""What the module's self-test logs when it stops the load."""


# 1 and 4 cost speed and no bytes: the suites in a guest do not notice them.
PARTS: dict[int, Choice | None] = {
    1: None,
    2: Choice("ctproxy", "matrix", "*/header-lost/*"),
    3: Choice("ctframe", "udp"),
    4: None,
    5: Choice("ctframe", "matrix", "*/loss5/*"),
    6: Choice("ctproxy", "attacks", "*/gateway/[hm]*"),
    7: Choice("ctframe", "attacks", "*/gateway/*"),
    8: Choice("ctframe", "matrix", "*/keepalive/*"),
    9: Choice("ctproxy", "life", "*/first-packet", SELF_TEST),
    10: Choice("ctproxy", "auth", "*/rotation", SELF_TEST),
}
"""For each mistake the cases of which at least one must fail; None: the frame map's own tests."""

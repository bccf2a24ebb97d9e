# SPDX-License-Identifier: MIT
"""docs/injectors.md: the cases by which it says that something holds are there, for eBPF too."""

from __future__ import annotations

import re
import subprocess
import sys
from fnmatch import fnmatchcase

import pytest

from tests import ROOT

GUEST = ROOT / "tests" / "kernel" / "guest"
PAGE = (ROOT / "docs" / "injectors.md").read_text()
_TABLE = PAGE.partition("| what broke in loxilb |")[2].partition("\n\n")[0]
ROWS = [row.split(" | ")[-1] for row in _TABLE.splitlines()[2:]]


@pytest.fixture(scope="module")
def names() -> list[str]:
    """PLACE/NAME of every case that is run with the eBPF program."""
    command = [sys.executable, "-m", "tests.kernel.guest", "--list", "--full", "--helper", "ebpf"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return [line.split()[-1].partition("/")[2] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("row", ROWS)
def test_the_cases_of_a_row(row: str, names: list[str]) -> None:
    words = re.findall(r"`([^`]+)`", row)
    files = [word for word in words if word.endswith((".py", "/"))]
    cases = [word for word in words if word not in files]
    assert [file for file in files if not (GUEST / file).exists()] == []
    missing = [c for c in cases if not any(fnmatchcase(name, f"*/{c}") for name in names)]
    assert cases
    assert missing == []


def test_the_table_is_found() -> None:
    assert len(ROWS) == 6

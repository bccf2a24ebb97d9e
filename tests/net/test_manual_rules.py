# SPDX-License-Identifier: MIT
"""nft accepts the rules that the manual shows.

Those of kmod/README.md need the module: tests/kernel/test_packaging.py loads them in a guest.
"""

from __future__ import annotations

import re

import pytest

from tests import ROOT
from tests.lab import Lab, unavailable

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))

_FENCED = re.compile(r"^```nft\n(.*?)^```", re.MULTILINE | re.DOTALL)
_HERE = re.compile(r"^( *)nft -f - <<'RULES'\n(.*?)^ *RULES$", re.MULTILINE | re.DOTALL)


def rules() -> list[tuple[str, str]]:
    """Pages, and the tables that they show."""
    found = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = page.read_text()
        blocks = [*_FENCED.findall(text), *(body for _, body in _HERE.findall(text))]
        found += [(page.name, block) for block in blocks]
    return found


def test_the_rules_load() -> None:
    tables = rules()
    assert {page for page, _ in tables} == {
        "README.md",
        "kubernetes.md",
        "relay.md",
        "threat-model.md",
    }
    with Lab() as lab:
        for page, table in tables:
            done = lab.gateway.run(["nft", "-c", "-f", "-"], text_in=table, check=False)
            assert (page, done.stderr) == (page, "")
            assert not done.returncode

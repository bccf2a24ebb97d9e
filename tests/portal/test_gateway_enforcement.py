# SPDX-License-Identifier: MIT
"""The bytes of an element are charged once, to the client that used them, after any change."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest

from tests.lab import Lab
from tests.lab.node import Node
from tests.lab.portal import ROOT
from tests.lab.requirements import unavailable
from tests.lab.topology import Host, Topology

from . import enforced

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Lab(Topology(hosts=(Host("gateway"),), wires=())) as lab:
        yield lab.gateway


@pytest.mark.parametrize("case", enforced.CASES)
def test_charged_once(node: Node, case: str) -> None:
    command = ["env", f"PYTHONPATH={ROOT}", sys.executable, enforced.__file__, case]
    done = node.run(command)
    assert "not full" not in done.stderr
    assert json.loads(done.stdout) == [["first", enforced.USED]]
    node.nft("flush ruleset")

# SPDX-License-Identifier: MIT
"""Tests of tests/net and tests/portal that need IPVS or the kernel module, run in a guest.

Most machines that run `make test` have neither and skip them, so here a skipped test is a failure.
They run in `make test-full` only, because emulated Python takes a minute or two for each.
"""

from __future__ import annotations

import re
import sys

import pytest

from . import boot, kmsg
from .kernels import Kernel, NotOfferedError, first_of
from .module import build

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(bool(boot.lacking()), reason=f"lacks {' '.join(boot.lacking())}"),
    pytest.mark.timeout(1000),
]

LIMIT = 800.0
"""Seconds for a command, five times what it takes on an idle machine."""


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    try:
        return first_of()
    except NotOfferedError as error:
        pytest.skip(str(error))


def passed(kernel: Kernel, prepare: str, cases: str, **environ: str) -> int:
    """Runs `prepare`, then pytest, in a guest. Returns how many passed; fails for anything else."""
    said = bytearray()
    pytest_ = f"{sys.executable} -m pytest {cases} -rs -o timeout=600 -p no:cacheprovider"
    outcome = boot.run(
        kernel,
        f"set -e; {prepare}; {pytest_}",
        output=said.extend,
        machine=boot.Machine(memory=2048, limit=LIMIT, silence=LIMIT),
        environ={"LAB_DEADLINE": "300", "CTWSGI_TEST_FULL": "1", **environ},
    )
    text = said.decode(errors="replace")
    assert (outcome.status, outcome.reason) == (0, ""), text
    assert "skipped" not in text, text
    assert not kmsg.scan(outcome.log)
    counted = re.search(r"(\d+) passed", text)
    assert counted, text
    return int(counted[1])


def test_ipvs_carries_the_origin_along(kernel: Kernel) -> None:
    prepare = "modprobe -a ip_vs ip_vs_rr nf_conntrack"
    assert passed(kernel, prepare, "tests/net/test_balancer.py -k ipvs") == 2


def test_the_way_through_the_portal_with_the_module(kernel: Kernel) -> None:
    module = build(kernel)
    prepare = f"modprobe nf_conntrack; insmod {module}"
    assert passed(kernel, prepare, "tests/portal/test_gateway_remote.py -k module") == 1

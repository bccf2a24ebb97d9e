# SPDX-License-Identifier: MIT
"""What needs a kernel of its own in the tests of the portal: IPVS, and the module as its injector.

The cases are those of tests/net and tests/portal, run by pytest in a guest. Most machines that run
`make test` have neither, so here they must pass: one that is skipped has failed. Only in
`make test-full`, because each waits a minute or two for emulated Python.
"""

from __future__ import annotations

import os
import re
import sys

import pytest

from . import boot as guest
from . import kmsg
from .kernels import Kernel, NotOfferedError, first_of
from .module import build

pytestmark = [
    pytest.mark.skipif(
        not os.environ.get("CTWSGI_TEST_FULL"), reason="minutes in a guest: make test-full"
    ),
    pytest.mark.skipif(bool(guest.lacking()), reason=f"lacks {' '.join(guest.lacking())}"),
    pytest.mark.timeout(1000),
]

LIMIT = 800.0
"""Seconds for a command; a fifth of it is enough on a machine that does nothing else."""


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    try:
        return first_of()
    except NotOfferedError as error:
        pytest.skip(str(error))


def passed(kernel: Kernel, prepare: str, cases: str, **environ: str) -> int:
    """How many passed in a guest, where `prepare` has succeeded; everything else is a failure."""
    said = bytearray()
    pytest_ = f"{sys.executable} -m pytest {cases} -rs -o timeout=600 -p no:cacheprovider"
    outcome = guest.run(
        kernel,
        f"set -e; {prepare}; {pytest_}",
        output=said.extend,
        machine=guest.Machine(memory=2048, limit=LIMIT, silence=LIMIT),
        environ={"LAB_DEADLINE": "300", **environ},
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

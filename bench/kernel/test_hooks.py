# SPDX-License-Identifier: MIT
"""What the module's hooks cost, from ftrace's output."""

from __future__ import annotations

from dataclasses import replace

from . import hooks
from .table import Results, hook_costs
from .test_sample import taken


def test_the_tracers_own_part_is_taken_off() -> None:
    text = """
 0)   0.512 us    |  hook_reply [ctinject]();
 0)               |  hook_forward [ctinject]() {
 0)   0.300 us    |    help [ctinject]();
 0)   1.700 us    |  } /* hook_forward [ctinject] */
 0)   0.712 us    |  hook_reply [ctinject]();
"""
    found = hooks.read(text.splitlines())
    assert found["hook_reply"] == {"calls": 2, "instructions": 612}
    assert found["hook_forward"] == {"calls": 1, "instructions": 1700}
    results = Results([replace(taken("ctproxy", 1), hooks=found, packets=2)])
    (row,) = hook_costs(results)
    assert row["packet"] == (2 * 312 + 1400) / 2

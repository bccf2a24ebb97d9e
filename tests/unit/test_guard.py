# SPDX-License-Identifier: MIT
"""The guard's rules as text; tests/net/test_guard.py loads them."""

from __future__ import annotations

from ctwsgi.guard import guard_rules, local_guard
from tests import ROOT


def test_the_manual_shows_what_the_server_prints():
    manual = (ROOT / "docs/threat-model.md").read_text()
    rules = guard_rules("tcp dport 8080")
    assert all(f"    {rule}\n" in manual and rule in local_guard(8080) for rule in rules)


def test_every_condition_has_its_rule():
    assert guard_rules("tcp dport 80") == [
        "tcp dport 80 ct status ! dnat drop",
        "tcp dport 80 ct state invalid,untracked drop",
    ]

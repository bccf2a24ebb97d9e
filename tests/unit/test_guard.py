# SPDX-License-Identifier: MIT
"""The guard's rules as text; tests/net/test_guard.py loads them."""

from __future__ import annotations

from ctwsgi.guard import guard_rules, local_guard
from tests import ROOT


def test_the_manual_shows_what_the_server_prints():
    assert local_guard(8080) in (ROOT / "docs/threat-model.md").read_text()


def test_every_condition_has_its_rule():
    assert guard_rules("tcp dport 80", verdict="counter drop") == [
        "tcp dport 80 ct status ! dnat counter drop",
        "tcp dport 80 ct state invalid,untracked counter drop",
    ]

# SPDX-License-Identifier: MIT
"""Counts of refused connections are logged when they change, at most once a minute."""

from __future__ import annotations

import logging
from collections import Counter

import pytest

from ctwsgi.serving import summary


def test_changes_are_told_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    counters = Counter({"accepted": 5, "requests": 3})
    told = summary.Summary(counters, logging.getLogger("test"))
    told.log_changes()
    assert caplog.messages == []  # no refusals yet
    counters["refused:auth-tag"] += 2
    told.log_changes()
    counters.update(["timeout:request", "bad-request:host"])
    told.log_changes()
    assert caplog.messages == ["Turned away so far: refused:auth-tag 2"]
    monkeypatch.setattr(summary, "_EVERY", 0.0)  # the minute is over
    counters["requests"] += 1
    told.log_changes()
    assert caplog.messages[1:] == [
        "Turned away so far: bad-request:host 1, refused:auth-tag 2, timeout:request 1"
    ]
    told.log_changes()
    monkeypatch.undo()
    told.log_changes(at_once=True)
    assert len(caplog.messages) == 2
    counters["timeout:request"] += 1
    told.log_changes(at_once=True)
    assert caplog.messages[2].endswith("timeout:request 2")

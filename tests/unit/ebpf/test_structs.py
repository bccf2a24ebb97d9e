# SPDX-License-Identifier: MIT
"""The structs and counters that the eBPF program and ctwsgi/ebpf/structs.py share."""

from __future__ import annotations

from ctwsgi.ebpf.status import HINTS
from ctwsgi.ebpf.structs import COUNTERS, Selection, Settings
from tests import ROOT


def test_counters_are_those_of_the_program() -> None:
    """structs.py and counters.h have the same names in the same order."""
    text = (ROOT / "kmod/bpf/counters.h").read_text()
    names = [line.split("(")[1].split(")")[0] for line in text.splitlines() if "\tX(" in line]
    assert tuple(names) == COUNTERS


def test_each_drop_counter_has_a_hint() -> None:
    assert {f"drop_{name}" for name in HINTS} == {n for n in COUNTERS if n.startswith("drop_")}


def test_settings_survive_packing() -> None:
    settings = Settings(0, Selection.MARK, 1, 0xFFFFFFFF, True, False, True, -37, True, 50, True)
    assert Settings.unpack(settings.pack()) == settings

# SPDX-License-Identifier: MIT
"""A profile counts each instruction for a function of the kernel."""

from __future__ import annotations

from pathlib import Path

from . import profile


def test_a_profile_lays_counts_at_the_function_before(tmp_path: Path) -> None:
    names, counts = tmp_path / "names", tmp_path / "counts"
    names.write_text(
        "ffffffff81000000 T first\nffffffff81000100 t second\tmodule\nffffffff81000200 d data\n"
    )
    counts.write_text("ffffffff81000004 7\nffffffff81000100 2\nffffffff810001f0 3\n401000 5\n")
    found = profile.instructions(counts, names)
    assert found == {"first": 7, "second module": 5, "user space": 5}

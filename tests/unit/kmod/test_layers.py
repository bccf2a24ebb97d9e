# SPDX-License-Identifier: MIT
"""In a C program of ours no file uses, directly or through others, a file that uses it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import ROOT

from .layers import circle, definitions, uses

SOURCES = ROOT / "kmod" / "ctinject"


@pytest.mark.parametrize("folder", ["kmod/ctinject", "kmod/bpf", "bench", "bench/kernel"])
def test_no_file_uses_a_file_that_uses_it(folder: str) -> None:
    graph = uses(ROOT / folder)
    assert graph
    assert circle(graph) == []


def test_a_circle_of_calls_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.h").write_text("int a_go(void);\n")
    (tmp_path / "a.c").write_text('#include "a.h"\nint a_go(void)\n{\n\treturn b_go();\n}\n')
    (tmp_path / "b.h").write_text("int b_go(void);\n")
    (tmp_path / "b.c").write_text("int b_go(void)\n{\n\treturn a_go();\n}\n")
    assert uses(tmp_path) == {"a": {"b"}, "b": {"a"}}
    assert sorted(set(circle(uses(tmp_path)))) == ["a", "b"]


def test_a_circle_of_includes_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.h").write_text('#include "b.h"\n')
    (tmp_path / "b.c").write_text('#include "a.h"\n')
    assert sorted(set(circle(uses(tmp_path)))) == ["a", "b"]


def test_what_is_said_or_declared_is_no_use(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("bool a_ready = true;\nint a_go(void)\n{\n\treturn 0;\n}\n")
    (tmp_path / "b.h").write_text(
        '/* See a_go(). */\nint a_go(void);\nextern bool a_ready;\n#define B "a_go"\n'
    )
    assert uses(tmp_path) == {"a": set(), "b": set()}


def test_every_function_that_a_header_declares_is_found() -> None:
    """A function that definitions() misses would be missing from the graph."""
    declared = {
        name
        for header in SOURCES.glob("*.h")
        for name in re.findall(r"^\w[\w \t*]*?\b(\w+)\([^;{}]*\);", header.read_text(), re.M)
    }
    defined = {name for path in SOURCES.glob("*.c") for name in definitions(path.read_text())}
    assert declared
    assert declared <= defined


def test_the_build_has_every_file() -> None:
    built = re.findall(r"\b(\w+)\.o\b", (SOURCES / "Kbuild").read_text())
    assert sorted(built) == sorted(
        {path.stem for path in SOURCES.glob("*.c")} | {"ctinject"} - {"ctinject.mod"}
    )

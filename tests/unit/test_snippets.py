# SPDX-License-Identifier: MIT
"""What the manual tells its readers to type: commands have the options that it gives them, make has
the targets, Python compiles and finds what it imports.

Nothing is executed here but `--help` and imports. tests/net/test_readme.py, tests/bpf/test_wheel.py
and others run some pages' commands; test_api_page.py runs the examples of docs/api.md.
"""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from tests import ROOT

from .test_links import PAGES

_FENCED = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^(?:    |\t).*\n|^ *\n)+", re.MULTILINE)
_SPAN = re.compile(r"`([^`]+)`")
_PYTHON = re.compile(r"<<'PYTHON'\n(.*?)^ *PYTHON$", re.MULTILINE | re.DOTALL)

_COMMAND = re.compile(
    r"""
    (?: ^ | [\s(|&;=/] )
    (?P<name> (?: python3? \s+ )? -m \s+ (?: ctwsgi(?:_portal)? | (?:tests|bench)(?:\.\w+)* )
            | ctwsgi(?:-portal)? )
    (?= [ \t] (?P<words> [^\n]* ) )
    """,
    re.VERBOSE | re.MULTILINE,
)
_END = re.compile(r"[|;&<>#)]|--(?=\s)")
"""Where a command's own words end: a pipe, a comment, or what it passes on."""
_OPTION = re.compile(r"--[a-z][\w-]*")
_MAKE = re.compile(
    r"(?:^|[(;&])[ \t]*make(?: -C (?P<folder>[\w/]+))?(?P<words>(?: [A-Z_]+=\S+)*(?: [a-z-]+)?)",
    re.MULTILINE,
)

PROGRAMS = {"ctwsgi": "ctwsgi", "ctwsgi-portal": "ctwsgi_portal"}
"""Commands by name, and the modules that are the same command."""


def code(text: str) -> Iterator[str]:
    """A page's fenced and indented blocks, and its spans of code."""
    yield from (body for _, language, body in _FENCED.findall(text) if language != "python")
    rest = _FENCED.sub("", text)
    yield from _INDENTED.findall(rest)
    yield from (" ".join(span.split()) for span in _SPAN.findall(_INDENTED.sub("", rest)))


@dataclass(frozen=True)
class Typed:
    """A command as a page has it."""

    module: str
    words: tuple[str, ...]

    @property
    def options(self) -> set[str]:
        return {found for word in self.words for found in _OPTION.findall(word)}


def commands(text: str) -> Iterator[Typed]:
    """The commands of ours in a piece of code; lines that end in \\ are joined."""
    text = re.sub(r"\\\n *", " ", text)
    text = re.sub(r"\| (?=--)", "", text)  # alternatives, as in [--full | --smoke]
    for found in _COMMAND.finditer(text):
        name = found["name"].split()[-1]
        words = _END.split(found["words"])[0]
        yield Typed(PROGRAMS.get(name, name), tuple(words.replace("[", " ").split()))


@cache
def helped(module: str, *command: str) -> str:
    """What `--help` prints; empty when there is no such command."""
    words = [sys.executable, "-m", module, *command, "--help"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    return "" if done.returncode else done.stdout


@cache
def listed(module: str, *command: str) -> frozenset[str]:
    """The subcommands that the help of a click group lists."""
    _, _, text = helped(module, *command).partition("\nCommands:\n")
    return frozenset(re.findall(r"^  ([a-z-]+)", text, re.MULTILINE))


def unknown(typed: Typed) -> set[str]:
    """The options of a command that its help does not have."""
    command: tuple[str, ...] = ()
    options = set(typed.options)
    if typed.module in PROGRAMS.values():
        known = helped(typed.module)
        for word in typed.words:
            if word in listed(typed.module, *command):
                command += (word,)
                known += helped(typed.module, *command)
    else:
        known = helped(typed.module)
    return options - set(_OPTION.findall(known))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_have_their_options(page: Path) -> None:
    typed = {each for piece in code(page.read_text()) for each in commands(piece)}
    wrong = {shlex.join((each.module, *each.words)): unknown(each) for each in typed}
    assert {command: options for command, options in wrong.items() if options} == {}


@cache
def targets(folder: Path) -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z-]+):", (folder / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_has_its_targets(page: Path) -> None:
    wrong = []
    for piece in code(page.read_text()):
        for found in _MAKE.finditer(piece):
            target = found["words"].rpartition(" ")[2]
            known = targets(ROOT / (found["folder"] or ""))
            if target and "=" not in target and target not in known:
                wrong.append(found[0])
    assert wrong == []


def programs(text: str) -> list[str]:
    """The Python of a page: fenced, or between <<'PYTHON' and PYTHON."""
    fenced = [body for _, language, body in _FENCED.findall(text) if language == "python"]
    here = [re.sub(r"^    ", "", body, flags=re.MULTILINE) for body in _PYTHON.findall(text)]
    return fenced + here


def missing(program: str) -> list[str]:
    """What a program imports and does not find. SyntaxError when it is none."""
    found = []
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Import):
            names = [(each.name, "") for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [(node.module, each.name) for each in node.names]
        else:
            continue
        for module, name in names:
            try:
                if name and not hasattr(import_module(module), name):
                    import_module(f"{module}.{name}")
                import_module(module)
            except ImportError as e:
                found.append(str(e))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_compiles_and_finds_its_imports(page: Path) -> None:
    wrong = {program: missing(program) for program in programs(page.read_text())}
    assert [names for names in wrong.values() if names] == []


def test_the_checks_can_fail() -> None:
    page = "\n".join(
        (
            "Type `ctwsgi serve --no-such a:b`, or:",
            "",
            "    (cd x; PATH/ctwsgi gateway rules DEV \\",
            "        --server=A --nor-this) | nft -f -    # --comment",
            "    make -C kmod no-target",
            "",
        )
    )
    found = [each for piece in code(page) for each in commands(piece)]
    assert [unknown(each) for each in found] == [{"--nor-this"}, {"--no-such"}]
    assert len(list(_MAKE.finditer(page))) == 1
    assert missing("from ctwsgi import Nothing") != []
    assert missing("from ctwsgi import Origin, wire") == []


def test_enough_is_checked() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    typed = {each for piece in code(text) for each in commands(piece) if each.options}
    modules = {each.module for each in typed}
    assert {"ctwsgi", "ctwsgi_portal", "tests.kernel", "bench.kernel"} <= modules
    assert len(typed) > 40
    assert len(programs(text)) > 10

# SPDX-License-Identifier: MIT
"""Imports run one way: the order of the modules, and the style of their import statements."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests import ROOT

CTWSGI = (
    ("version", "errors", "origin", "guard", "drops"),
    ("wire",),
    ("linux", "trust"),
    ("loops", "source"),
    ("http",),
    ("server",),
    ("cli.errors", "cli.lazy_group", "cli.signing"),
    ("relay", "ebpf", "middleware", "flask", "testing"),
    ("serving",),
    ("worker", "check", "cli"),
)
"""From the bottom up. A module imports from its own entry and from lower rows; docs/architecture.md
shows the same rows."""

PORTAL = (
    ("state",),
    ("config",),
    ("web", "gateway"),
    ("cli",),
)

SHIPPED = {"ctwsgi": ROOT / "ctwsgi", "ctwsgi_portal": ROOT / "demo_app/ctwsgi_portal"}
FOLDERS = {**SHIPPED, "tests": ROOT / "tests", "bench": ROOT / "bench"}


@dataclass(frozen=True)
class Import:
    """One name that a module imports, at its top, in a function or for the type checker."""

    place: str
    """File and line."""
    module: str
    """The importing module's full name."""
    base: str
    """The full name of the module behind `from` or `import`."""
    target: str
    """The full name of what is imported: a module, or a name in one."""
    level: int
    """How many dots the statement has."""


def modules_of(package: str, folder: Path) -> dict[str, Path]:
    """Full module names to files; a package is called as its folder is."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = (package, *path.relative_to(folder).with_suffix("").parts)
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports_in(module: str, path: Path) -> Iterator[Import]:
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            yield from (Import(place, module, n.name, n.name, 0) for n in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [base])])
            for name in node.names:
                yield Import(place, module, base, f"{base}.{name.name}", node.level)


@cache
def imports_of(package: str) -> tuple[Import, ...]:
    files = modules_of(package, FOLDERS[package])
    return tuple(each for module, path in files.items() for each in imports_in(module, path))


def inner_imports(package: str) -> Iterator[tuple[Import, str]]:
    """Imports from the package itself, each with the module that is imported."""
    known = modules_of(package, FOLDERS[package])
    for each in imports_of(package):
        target = each.target
        if target.partition(".")[0] == package:
            yield each, target if target in known else target.rpartition(".")[0]


@pytest.mark.parametrize("package", FOLDERS)
def test_no_module_imports_itself_by_way_of_others(package):
    graph: dict[str, set[str]] = {}
    for each, target in inner_imports(package):
        graph.setdefault(each.module, set()).add(target)
    assert len(graph) > 10  # the files were found
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as e:
        pytest.fail(" -> ".join(e.args[1]))


def entry(module: str, layers: tuple[tuple[str, ...], ...]) -> tuple[int, str] | None:
    """The row and the name under which the table lists `module`; the longest name counts."""
    _, _, name = module.partition(".")
    listed = [
        (row, each)
        for row, names in enumerate(layers)
        for each in names
        if name == each or name.startswith(f"{each}.")
    ]
    return max(listed, key=lambda found: len(found[1]), default=None)


@pytest.mark.parametrize(("package", "layers"), [("ctwsgi", CTWSGI), ("ctwsgi_portal", PORTAL)])
def test_modules_import_from_below(package, layers):
    wrong = []
    for each, target in inner_imports(package):
        own, other = entry(each.module, layers), entry(target, layers)
        if own and other and own != other and other[0] >= own[0]:
            wrong.append(f"{each.place}: {each.module} imports {target}")
    assert wrong == []


@pytest.mark.parametrize(("package", "layers"), [("ctwsgi", CTWSGI), ("ctwsgi_portal", PORTAL)])
def test_every_module_has_its_place(package, layers):
    known = modules_of(package, FOLDERS[package])
    above = {package, f"{package}.__main__"}
    assert {m for m in known if entry(m, layers) is None} <= above
    for row in layers:
        for name in row:
            assert f"{package}.{name}" in known


def test_nothing_in_ctwsgi_imports_the_package_root():
    """It imports the server on demand, which would be a circle."""
    assert [each.place for each, target in inner_imports("ctwsgi") if target == "ctwsgi"] == []


def test_the_manual_shows_these_rows():
    manual = (ROOT / "docs/architecture.md").read_text()
    block = re.search(r"## Imports run one way\n.*?```\n(.*?)```", manual, re.DOTALL)
    assert block
    rows = [re.split(r"  +", line)[0] for line in block[1].splitlines()]
    assert rows == [", ".join(names) for names in CTWSGI]


@pytest.mark.parametrize(
    ("package", "foreign"),
    [("ctwsgi", {"ctwsgi_portal", "tests", "bench"}), ("ctwsgi_portal", {"tests", "bench"})],
)
def test_shipped_code_imports_no_test_code(package, foreign):
    found = [e.place for e in imports_of(package) if e.target.partition(".")[0] in foreign]
    assert found == []


@pytest.mark.parametrize("package", SHIPPED)
def test_shipped_packages_import_their_own_modules_by_relative_names(package):
    # __main__.py is also run by its path, and then belongs to no package.
    absolute = [each.place for each, _ in inner_imports(package) if not each.level]
    assert [place for place in absolute if "/__main__.py:" not in place] == []


@pytest.mark.parametrize("package", ["tests", "bench"])
def test_tests_import_by_relative_names_within_their_folder_only(package):
    wrong = []
    for module, path in modules_of(package, FOLDERS[package]).items():
        folder = module if path.stem == "__init__" else module.rpartition(".")[0]
        for each in imports_in(module, path):
            within = each.base == folder or each.base.rpartition(".")[0] == folder
            from_root = each.base == package  # `from tests import ROOT`, everywhere
            if (not from_root and within != (each.level == 1)) or each.level > 1:
                wrong.append(each.place)
    assert wrong == []

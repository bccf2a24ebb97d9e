# SPDX-License-Identifier: MIT
"""The code imports the declared dependencies and no others; docs/dependencies.md names each."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ctwsgi_portal.config.toml import tomllib

from tests import ROOT

PROJECTS = {"ctwsgi": ROOT, "ctwsgi_portal": ROOT / "demo_app"}
"""Import packages, and the folders of their pyproject.toml."""

UNDECLARED = {"_typeshed"}
"""What only type checkers import."""


def imported(tree: ast.AST) -> Iterator[str]:
    """The top-level packages that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]


def declared(folder: Path) -> set[str]:
    """The distributions that the project needs, or that one of its extras adds."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    extras = project.get("optional-dependencies", {}).values()
    words = [*project["dependencies"], *(word for extra in extras for word in extra)]
    return {re.split(r"[^\w-]", word)[0] for word in words}


def needed(package: str) -> set[str]:
    """The packages of others that the code imports."""
    files = (PROJECTS[package] / package).rglob("*.py")
    names = {name for file in files for name in imported(ast.parse(file.read_text()))}
    return names - sys.stdlib_module_names - {package} - UNDECLARED - {"tomllib"}


@pytest.mark.parametrize("package", PROJECTS)
def test_what_is_imported_is_declared(package: str) -> None:
    assert "gevent" in needed(package)
    assert needed(package) - declared(PROJECTS[package]) == set()


@pytest.mark.parametrize("package", PROJECTS)
def test_what_is_declared_is_imported(package: str) -> None:
    assert declared(PROJECTS[package]) - needed(package) == set()


def test_the_page_names_each() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text()
    rows = set(re.findall(r"^\| ([\w-]+) \|", page, re.MULTILINE))
    assert declared(ROOT) | declared(ROOT / "demo_app") <= rows | {"ctwsgi"}

# SPDX-License-Identifier: MIT
"""The portal imports only names of ctwsgi that docs/api.md lists.

Another release of ctwsgi may change every other name. The page's section on the portal has no name
that the portal does not use.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import ctwsgi_portal

from tests import ROOT

PORTAL = Path(ctwsgi_portal.__file__).parent

_LISTED = re.compile(r"`(ctwsgi(?:\.\w+)+)")
_LOADED_BY_NAME = re.compile(r"^(ctwsgi(?:\.\w+)*):(\w+)$")
"""`MODULE:NAME`, as `ctwsgi serve` takes an application."""


def listed() -> set[str]:
    """The names in headings and table rows of docs/api.md."""
    lines = (ROOT / "docs" / "api.md").read_text().splitlines()
    return {name for line in lines if line.startswith(("#", "|")) for name in _LISTED.findall(line)}


def names(tree: ast.AST) -> Iterator[str]:
    """Every name of ctwsgi that a module imports, or gives as `MODULE:NAME`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            if node.module.partition(".")[0] == "ctwsgi":
                yield from (f"{node.module}.{each.name}" for each in node.names)
        elif isinstance(node, ast.Import):
            # What is used of the module is not known, so the whole module has to be listed.
            yield from (n.name for n in node.names if n.name.partition(".")[0] == "ctwsgi")
        elif isinstance(node, ast.Constant):
            yield from (".".join(found) for found in _LOADED_BY_NAME.findall(str(node.value)))


def imported() -> dict[str, Path]:
    """The names of ctwsgi that the portal uses, and a module that does."""
    return {
        name: path.relative_to(PORTAL)
        for path in PORTAL.rglob("*.py")
        for name in names(ast.parse(path.read_text()))
    }


def test_the_portal_imports_public_names_only() -> None:
    used = imported()
    assert {"ctwsgi.flask.origin", "ctwsgi.middleware.OriginMiddleware"} <= used.keys()
    assert {name: str(path) for name, path in used.items() if name not in listed()} == {}


def test_its_section_of_the_page_has_no_other_names() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    _, _, section = page.partition("\n## What the portal uses\n")
    named = set(re.findall(r"^### `([\w.]+)`$", section.partition("\n## ")[0], re.MULTILINE))
    assert "ctwsgi.loops.parse_self" in named
    assert named - imported().keys() == set()

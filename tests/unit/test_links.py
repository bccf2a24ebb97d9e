# SPDX-License-Identifier: MIT
"""Every relative link of the manual leads to a file that is there, and every #anchor to a heading.

So do the pages that comments in the source name: `docs/serve.md`, `docs/serve.md#signals`.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from tests import ROOT

_FENCED = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_LINK_TEXT = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
_NAMED = re.compile(r"(?<![\w/.-])((?:[\w-]+/)+[\w-]+\.md)(#[\w-]+)?")


_NOT_OURS = {".git", ".venv", "build", "dist"}


def files(*patterns: str) -> list[Path]:
    """The checkout's, without what tools have left in it."""
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [
            f for f in folders if f not in _NOT_OURS and not f.endswith(("_cache", "cache__"))
        ]
        paths = (Path(folder, name) for name in names)
        found += [path for path in paths if any(path.match(pattern) for pattern in patterns)]
    return sorted(found)


PAGES = files("*.md")
SOURCES = files("*.py", "*.c", "*.h", "*.sh", "*.toml", "Makefile", "tests/setup", ".ci/*")


@cache
def anchors(page: Path) -> frozenset[str]:
    """The ids that a browser of the repository gives to the page's headings."""
    used: Counter[str] = Counter()
    found = set()
    for title in _HEADING.findall(_FENCED.sub("", page.read_text())):
        text = _LINK_TEXT.sub(r"\1", title).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        found.add(f"{slug}-{used[slug]}" if used[slug] else slug)
        used[slug] += 1
    return frozenset(found)


def why_not(target: str, folder: Path, page: Path | None) -> str:
    """What is wrong with a link from `page`, which lies in `folder`; empty when nothing is."""
    name, _, anchor = target.partition("#")
    to = (folder / name).resolve() if name else page
    assert to
    if not to.exists():
        return f"{target}: no such file"
    if not to.is_relative_to(ROOT):
        return f"{target}: outside of the repository"
    if anchor and anchor not in anchors(to):
        return f"{target}: no such heading"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page(page: Path) -> None:
    text = _CODE.sub("", _FENCED.sub("", page.read_text()))
    links = [link for link in _LINK.findall(text) if not re.match(r"[a-z]+:", link)]
    assert [why for link in links if (why := why_not(link, page.parent, page))] == []


def test_pages_that_the_source_names() -> None:
    wrong = []
    for source in SOURCES:
        for name, anchor in _NAMED.findall(source.read_text(errors="replace")):
            if why := why_not(name + anchor, ROOT, None):
                wrong.append(f"{source.relative_to(ROOT)}: {why}")
    assert wrong == []


def test_every_page_of_the_manual_is_in_its_index() -> None:
    """docs/README.md is where a reader finds the others."""
    index = ROOT / "docs" / "README.md"
    links = _LINK.findall(index.read_text())
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in links}
    manual = {page for page in PAGES if page.relative_to(ROOT).parent.name == "docs"} - {index}
    assert [str(page.relative_to(ROOT)) for page in manual - linked] == []


def test_what_is_refused(tmp_path: Path) -> None:
    """The checks above can fail."""
    page = ROOT / "docs" / "threat-model.md"
    assert why_not("nowhere.md", page.parent, page) == "nowhere.md: no such file"
    assert why_not("keys.md#nothing", page.parent, page) == "keys.md#nothing: no such heading"
    assert why_not("#nothing", page.parent, page) == "#nothing: no such heading"
    assert why_not("#the-guard", page.parent, page) == ""
    assert why_not("../../", page.parent, page).endswith("outside of the repository")

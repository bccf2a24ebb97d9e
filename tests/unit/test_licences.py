# SPDX-License-Identifier: MIT
"""Every file in git names its licence in its first line, or in its second after a line with #!."""

from __future__ import annotations

import re
import subprocess
from fnmatch import fnmatch

import pytest

from tests import ROOT

WITHOUT = {
    "LICENSE": "a licence",
    "demo_app/LICENSE": "a licence",
    "kmod/COPYING": "a licence",
    "*.md": "prose, under the licence of its folder",
    "*.json": "data, which has no comments",
    "*.png": "an image",
    "*/py.typed": "empty",
    "tests/unit/check/rulesets/*.nft": "compared with the text of kmod/README.md",
}
"""Files that do not name it, and why."""

KERNEL = ("kmod/*", "tests/kernel/mistakes/*.patch", "tests/bpf/mistakes/*.patch")
"""Code that runs in the kernel, and patches of it."""

LICENCES = {"MIT", "GPL-2.0-only", "GPL-2.0-or-later"}

_LICENCE = re.compile(r"\W*SPDX-License-Identifier: ([\w.-]+)\W*")
"""The line, in a comment of any language."""


def tracked() -> list[str]:
    """The files that git knows, and those that it would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("not a checkout: git lists no files")
    return sorted(name for name in done.stdout.split("\0") if (ROOT / name).is_file())


def matches(name: str, patterns: dict[str, str] | tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def licence(text: str) -> str | None:
    """What the file says of its licence, at the place where it has to."""
    first, _, rest = text.partition("\n")
    line = rest.partition("\n")[0] if first.startswith("#!") else first
    found = _LICENCE.fullmatch(line)
    return found and found[1]


def test_every_source_file_names_its_licence() -> None:
    names = [name for name in tracked() if not matches(name, WITHOUT)]
    assert len(names) > 400
    wrong = {}
    for name in names:
        found = licence((ROOT / name).read_text())
        allowed = {"GPL-2.0-only"} if matches(name, KERNEL) else LICENCES
        if found not in allowed:
            wrong[name] = found
    assert wrong == {}


def test_each_exception_is_needed() -> None:
    names = tracked()
    assert [pattern for pattern in WITHOUT if not any(fnmatch(n, pattern) for n in names)] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# SPDX-License-Identifier: MIT\n", "MIT"),
        ("#!/bin/sh\n# SPDX-License-Identifier: MIT\n", "MIT"),
        ("/* SPDX-License-Identifier: GPL-2.0-only */\n", "GPL-2.0-only"),
        ("{#- SPDX-License-Identifier: MIT -#}\n", "MIT"),
        ("SPDX-License-Identifier: GPL-2.0-only\ntext", "GPL-2.0-only"),
        ("\n# SPDX-License-Identifier: MIT\n", None),
        ("# MIT\n", None),
        ("# not SPDX-License-Identifier: MIT\n", None),
        ("", None),
    ],
)
def test_where_it_stands(text: str, found: str | None) -> None:
    assert licence(text) == found

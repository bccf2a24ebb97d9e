# SPDX-License-Identifier: MIT
"""Which file of a C program uses which, without a compiler.

`x.c` and `x.h` are one file here, called `x`. It uses another one when it includes the other's
header, or when its code names a function or variable that the other defines.
"""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

Uses = dict[str, set[str]]
"""For each file the files that it uses."""

_NOISE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL)
_INCLUDE = re.compile(r'^#include "(\w+)\.h"', re.MULTILINE)
_PRAGMA = re.compile(r"^#.*(?:\\\n.*)*\n", re.MULTILINE)
_FUNCTION = re.compile(r"^(?!static\b|typedef\b)\w[\w \t*]*?\b(\w+)\([^;{}]*\)\s*\{", re.MULTILINE)
_VARIABLE = re.compile(
    r"^(?!static\b|typedef\b|extern\b|return\b)\w[\w \t*]*\b(\w+)(?:\[[^\]]*\])?(?: =[^;]*)?;",
    re.MULTILINE,
)
_STATIC = re.compile(r"^static\b[\w \t*]*?\b(\w+)\(", re.MULTILINE)
_DECLARATION = re.compile(r"^(?:extern\b|\w[\w \t*]*\b\w+\()[^;{}]*;", re.MULTILINE)


def definitions(text: str) -> set[str]:
    """The names that the text of a C file defines for other files."""
    code = _PRAGMA.sub("", _NOISE.sub("", text))
    return set(_FUNCTION.findall(code)) | set(_VARIABLE.findall(code))


def uses(folder: Path) -> Uses:
    """The files of `folder`."""
    texts = {path: path.read_text() for path in sorted(folder.glob("*.[ch]"))}
    homes = {
        name: path.stem
        for path, text in texts.items()
        if path.suffix == ".c"
        for name in definitions(text)
    }
    found: Uses = {path.stem: set() for path in texts}
    for path, text in texts.items():
        used = set(_INCLUDE.findall(text))
        code = _PRAGMA.sub("", _NOISE.sub("", text))
        if path.suffix == ".h":
            code = _DECLARATION.sub("", code)
        words = set(re.findall(r"\w+", code)) - set(_STATIC.findall(code))
        used |= {homes[word] for word in words & homes.keys()}
        found[path.stem] |= (used & {path.stem for path in texts}) - {path.stem}
    return found


def circle(graph: Uses) -> list[str]:
    """A circle of files that use each other, its first file repeated at the end; or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []

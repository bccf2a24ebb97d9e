# SPDX-License-Identifier: MIT
"""On which line of a TOML text each key stands.

tomllib tells the line of a syntax error only. Here the text is cut into its statements, a header
or a key with its value, and each is given to tomllib alone to learn which keys it sets: so no
second parser can disagree with the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .toml import tomllib

Path = tuple[str | int, ...]
"""Keys and, for arrays of tables, positions: ('networks', 0, 'name')."""


def key_lines(text: str) -> dict[Path, int]:
    """The line, from 1, of every key and header of `text`, which tomllib has read without error."""
    found: dict[Path, int] = {}
    prefix: Path = ()
    counts: dict[Path, int] = {}
    for number, statement in _statements(text):
        values = tomllib.loads(statement)
        if statement.startswith("["):
            prefix = _enter(values, counts)
            found.setdefault(prefix, number)
        else:
            for path in _leaves(values):
                found.setdefault(prefix + path, number)
    return found


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """(line, statement): lines are joined until tomllib finds them complete."""
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not lines and not line.split("#", 1)[0].strip():
            continue
        lines.append(line if lines else line.lstrip())
        statement = "\n".join(lines)
        try:
            tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue  # a string or an array that goes on
        yield number - len(lines) + 1, statement
        lines = []


def _enter(values: dict[str, Any], counts: dict[Path, int]) -> Path:
    """The path of a header, from what tomllib made of it alone. Counts arrays of tables."""
    path: Path = ()
    inside: Any = values
    while inside:
        if isinstance(inside, list):
            position = counts.get(path, 0)
            counts[path] = position + 1
            path, inside = (*path, position), inside[0]
        else:
            ((key, inside),) = inside.items()
            path = (*path, key)
            if isinstance(inside, dict) and path in counts:  # a table inside the last array's item
                path = (*path, counts[path] - 1)
    return path


def _leaves(values: dict[str, Any], path: Path = ()) -> Iterator[Path]:
    for key, value in values.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))

# SPDX-License-Identifier: MIT
"""The line of each key in a TOML text.

tomllib gives the line of a syntax error only. key_lines() cuts the text into statements (a header,
or a key with its value), and lets tomllib read each alone to learn which keys it sets. So there is
no second parser that could disagree with tomllib.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .toml import tomllib

Path = tuple[str | int, ...]
"""Keys, and positions in arrays of tables: ('networks', 0, 'name')."""


def key_lines(text: str) -> dict[Path, int]:
    """The line, from 1, of every key and header of `text`, which must be valid TOML."""
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
    """(line, statement). Lines are joined until tomllib can read them."""
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
    """The path of a header, from what tomllib read in it. Counts the items of arrays of tables."""
    path: Path = ()
    rest: Any = values
    while rest:
        if isinstance(rest, list):
            position = counts.get(path, 0)
            counts[path] = position + 1
            path, rest = (*path, position), rest[0]
        else:
            ((key, rest),) = rest.items()
            path = (*path, key)
            if isinstance(rest, dict) and path in counts:  # a table in the last item of an array
                path = (*path, counts[path] - 1)
    return path


def _leaves(values: dict[str, Any], path: Path = ()) -> Iterator[Path]:
    for key, value in values.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))

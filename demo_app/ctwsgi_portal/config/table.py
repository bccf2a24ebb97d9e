# SPDX-License-Identifier: MIT
"""Reads one table of the configuration. Each getter checks a value and notes its mistakes.

All mistakes are collected, so that a command shows them at once, each with its line. A getter that
notes a mistake returns some value, which is not used, because load() raises in the end. done()
takes every key that no getter asked for as a mistake.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from .lines import Path

T = TypeVar("T")

DURATIONS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([A-Za-z]+)")


class ConfigError(Exception):
    """A configuration that cannot be used. The message has a line for each mistake."""


class Mistakes:
    """The mistakes in a file, and the lines of its keys."""

    def __init__(self, name: str, lines: dict[Path, int]) -> None:
        self.found: list[tuple[int, str]] = []
        self._paths: set[Path] = set()
        self._name = name
        self._lines = lines

    def add(self, path: Path, text: str) -> None:
        """Notes a mistake at the line of `path`, or of the nearest table around it.

        Only the first mistake of each key is kept, because others tend to follow from it.
        """
        if path in self._paths:
            return
        self._paths.add(path)
        around = path
        while around and around not in self._lines:
            around = around[:-1]
        line = self._lines.get(around, 1)
        self.found.append((line, f"{self._name}:{line}: {show_path(path)}: {text}"))

    def raise_if_any(self) -> None:
        """Raises ConfigError with all mistakes, in the order of their lines."""
        if self.found:
            raise ConfigError("\n".join(text for _, text in sorted(self.found)))


def show_path(path: Path) -> str:
    """Makes networks[1].name of ('networks', 0, 'name'); people count from 1."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the file"


class Table:
    """One table of the file, with the values that tomllib read."""

    def __init__(self, values: Any, path: Path, mistakes: Mistakes) -> None:
        self.path = path
        self._mistakes = mistakes
        self._asked: set[str] = set()
        self._values: dict[str, Any] = values if isinstance(values, dict) else {}
        if not isinstance(values, dict):
            mistakes.add(path, "is not a table")

    def __contains__(self, key: str) -> bool:
        """Whether the file has `key`."""
        return key in self._values

    def wrong(self, key: str, text: str) -> None:
        """Notes a mistake that a getter cannot find."""
        self._mistakes.add((*self.path, key), text)

    def done(self) -> None:
        """Notes every key that no getter asked for as a mistake."""
        for key in self._values:
            if key not in self._asked:
                meant = get_close_matches(key, self._asked, 1, 0.6)
                hint = f"; is {meant[0]} meant?" if meant else ""
                self.wrong(key, f"there is no such setting{hint}")

    def table(self, key: str) -> Table:
        """A table inside; empty when it is missing."""
        self._asked.add(key)
        return Table(self._values.get(key, {}), (*self.path, key), self._mistakes)

    def tables(self, key: str) -> list[Table]:
        """An array of tables ([[key]]); empty when it is missing."""
        self._asked.add(key)
        values = self._values.get(key, [])
        if not isinstance(values, list):
            self.wrong(key, f"is an array of tables: write [[{key}]]")
            return []
        paths = ((*self.path, key, i) for i in range(len(values)))
        return [Table(v, path, self._mistakes) for v, path in zip(values, paths, strict=True)]

    def names(self) -> list[str]:
        """All keys. For a table whose keys the operator chooses."""
        self._asked.update(self._values)
        return list(self._values)

    def text(self, key: str, default: str | None = None) -> str:
        """A string that is not empty; it is required when there is no default."""
        value = self._get(key, default, str, "a string in quotes")
        if value == "" and default != "":
            self.wrong(key, "is empty")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        return self._get(key, default, bool, "true or false, without quotes")

    def integer(self, key: str, default: int | None, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        value = self._get(key, default, int, f"a whole number from {low} to {high}")
        if not low <= value <= high:
            self.wrong(key, f"{value} is not from {low} to {high}")
        return value

    def choice(self, key: str, default: str | None, words: Sequence[str]) -> str:
        """One of `words`."""
        value = self._get(key, default, str, f"one of {', '.join(words)}, in quotes")
        if value not in words:
            self.wrong(key, f"{value!r} is not one of {', '.join(words)}")
        return value

    def strings(self, key: str, default: Sequence[str] = ()) -> tuple[str, ...]:
        """A list of strings; one string counts as a list of one."""
        value = self._values.get(key, list(default))
        self._asked.add(key)
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
            self.wrong(key, 'is a list of strings: ["one", "two"]')
            return tuple(default)
        return tuple(value)

    def parsed(self, key: str, parse: Callable[[str], T], default: str | None = None) -> T | None:
        """`parse` of a string. Its ValueError becomes a mistake, and the value None."""
        value = self.text(key, default)
        try:
            return parse(value) if value else None
        except ValueError as e:
            self.wrong(key, str(e))
            return None

    def all_parsed(
        self, key: str, parse: Callable[[str], T], default: Sequence[str] = ()
    ) -> tuple[T, ...]:
        """`parse` of each string of a list."""
        found = []
        for value in self.strings(key, default):
            try:
                found.append(parse(value))
            except ValueError as e:
                self.wrong(key, str(e))
        return tuple(found)

    def duration(self, key: str, default: str | int) -> int:
        """Seconds, from "90s", "30m", "8h", "2d" or 0. Another number needs a unit."""
        return self._quantity(key, default, DURATIONS, '"90s", "30m", "8h", "2d", or 0')

    def size(self, key: str, default: str | int) -> int:
        """Bytes, from "500MB", "2GB" (decimal units); 0 for none."""
        return self._quantity(key, default, SIZES, '"500MB", "2GB", or 0')

    def _quantity(self, key: str, default: str | int, units: dict[str, int], write: str) -> int:
        self._asked.add(key)
        value = self._values.get(key, default)
        quantity = amount(value, units)
        if quantity is None:
            self.wrong(key, f"{value!r}: write {write}")
            return amount(default, units) or 0
        return quantity

    def _get(self, key: str, default: T | None, kind: type[T], write: str) -> T:
        self._asked.add(key)
        value = self._values.get(key, default)
        if value is None:
            self._mistakes.add(self.path, f"lacks {key}: {write}")
            return kind()
        # A bool is an int in Python, and a mistake here.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.wrong(key, f"{value!r} is not {write}")
            return kind()
        return value


def amount(value: Any, units: dict[str, int]) -> int | None:
    """A number with one of `units`, or 0; None for anything else."""
    if value == 0 and not isinstance(value, bool):
        return 0
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2] not in units:
        return None
    return round(float(match[1]) * units[match[2]])

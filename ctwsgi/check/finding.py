# SPDX-License-Identifier: MIT
"""A line of `ctwsgi check`: a fact, whether something is to do, and what."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(str, Enum):
    """The first word of a line."""

    OK = "ok"
    NOTE = "note"
    TODO = "todo"


@dataclass(frozen=True)
class Finding:
    """One fact. `remedy` is complete: rules for nft, or commands."""

    level: Level
    subject: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        lines = [f"{self.level.value:<5} {self.subject}: {self.text}"]
        lines += [f"          {line}" for line in self.remedy.splitlines()]
        return "\n".join(lines)

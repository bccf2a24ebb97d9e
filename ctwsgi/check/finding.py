# SPDX-License-Identifier: MIT
"""What `ctwsgi check` has to say: a fact, how much it matters, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(str, Enum):
    """How a line begins."""

    OK = "ok"
    NOTE = "note"
    TODO = "todo"


@dataclass(frozen=True)
class Finding:
    """One fact. `remedy` is text to be used as it stands: rules for nft, or commands."""

    level: Level
    subject: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        lines = [f"{self.level.value:<5} {self.subject}: {self.text}"]
        lines += [f"          {line}" for line in self.remedy.splitlines()]
        return "\n".join(lines)

# SPDX-License-Identifier: MIT
"""Key files for the cases."""

from __future__ import annotations

from pathlib import Path

KEYS = {3: "3 " + "ab" * 16, 7: "7 " + "cd" * 32}
"""Lines of a key file by the key's id."""


def key_file(path: Path, *lines: str) -> Path:
    """Write the lines to `path`, which only its owner may read."""
    path.touch(mode=0o600)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path

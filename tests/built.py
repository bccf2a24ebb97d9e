# SPDX-License-Identifier: MIT
"""What builds and interpreters leave in source folders, which a copy of the sources must not have.

Make would take it from the copy as up to date, though it may be built for another kernel.
"""

from __future__ import annotations

import shutil
from fnmatch import fnmatch

BUILT = (
    *("*.o", "*.ko", "*.mod", "*.mod.c", ".*.cmd"),
    *("Module.symvers", "modules.order", ".tmp_versions", "__pycache__"),
)
"""Patterns of names of files and folders."""

without_built = shutil.ignore_patterns(*BUILT)
"""For `shutil.copytree(ignore=...)`."""


def is_built(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in BUILT)

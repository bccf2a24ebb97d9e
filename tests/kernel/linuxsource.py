# SPDX-License-Identifier: MIT
"""Debian's linux-source-6.12, fetched and unpacked once: the debug kernel and checkpatch need it.

    python3 -m tests.kernel.linuxsource     # only checkpatch; prints where it is

Downloaded, not installed: the package would leave its archive in /usr/src. Everything lies in
`$CTWSGI_CACHE` (default ~/.cache/ctwsgi). A folder appears whole or not at all.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

from .kernels import MissingError, NotOfferedError, cache_folder, locked

PACKAGE = "linux-source-6.12"

CHECKPATCH = ("checkpatch.pl", "spelling.txt", "const_structs.checkpatch")
"""The script, and the lists that it looks for beside itself."""

SUPERFLUOUS = "*/drivers/gpu/drm/*.h"
"""A third of the tree: tables of graphic chips' registers."""


def source() -> Path:
    """The unpacked tree; its folder is named after the package's version.

    When apt offers none (no lists, no network), the newest that an earlier run has left.
    """
    folder = cache_folder() / PACKAGE
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "lock"):
        version = _version()
        if version is None:
            left = [entry for entry in folder.iterdir() if (entry / "Makefile").exists()]
            if left:
                return max(left, key=lambda p: p.stat().st_mtime)
            raise NotOfferedError(f"apt offers no {PACKAGE}")
        place = folder / version
        if not place.exists():
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch:
                _unpack(Path(scratch), f"--exclude={SUPERFLUOUS}")
                os.replace(Path(scratch, PACKAGE), place)
        return place


def checkpatch() -> Path:
    """The kernel's style checker, by itself."""
    place = cache_folder() / "checkpatch"
    place.parent.mkdir(parents=True, exist_ok=True)
    with locked(place.with_suffix(".lock")):
        if not place.exists():
            if _version() is None:
                raise NotOfferedError(f"apt offers no {PACKAGE}")
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=place.parent) as scratch:
                _unpack(Path(scratch), *(f"{PACKAGE}/scripts/{name}" for name in CHECKPATCH))
                os.replace(Path(scratch, PACKAGE, "scripts"), place)
    return place / CHECKPATCH[0]


def _version() -> str | None:
    policy = subprocess.run(
        ["apt-cache", "policy", PACKAGE], check=True, capture_output=True, text=True
    ).stdout
    candidate = re.search(r"Candidate: (?!\(none\))(\S+)", policy)
    return candidate[1] if candidate else None


def _unpack(scratch: Path, *members: str) -> None:
    """Leaves `scratch/linux-source-6.12`; `members` are tar's words for what is wanted of it."""
    print(f"fetching {PACKAGE}", flush=True)
    quiet = subprocess.DEVNULL  # complains about root's own folder
    download = ["apt-get", "download", "-qq", PACKAGE]
    if subprocess.run(download, cwd=scratch, stderr=quiet).returncode:
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        if subprocess.run(download, cwd=scratch).returncode:
            raise MissingError(f"apt cannot download {PACKAGE}")
    [deb] = scratch.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", deb, scratch], check=True)
    archive = scratch / "usr" / "src" / f"{PACKAGE}.tar.xz"
    subprocess.run(["tar", "-C", scratch, "-xf", archive, *members], check=True)


if __name__ == "__main__":
    print(checkpatch())

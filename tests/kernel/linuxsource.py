# SPDX-License-Identifier: MIT
"""Debian's linux-source-6.12, fetched and unpacked once: the debug kernel and checkpatch need it.

    python3 -m tests.kernel.linuxsource     # fetches only checkpatch, prints its path

The package is downloaded and not installed, which would leave its archive in /usr/src. The tree is
in `$CTWSGI_CACHE` (default ~/.cache/ctwsgi). A folder is renamed into place when it is complete.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from .kernels import MissingError, NotOfferedError, cache_folder, candidate, locked

PACKAGE = "linux-source-6.12"

CHECKPATCH = ("checkpatch.pl", "spelling.txt", "const_structs.checkpatch")
"""The script, and the lists that it reads from its own folder."""

SUPERFLUOUS = "*/drivers/gpu/drm/*.h"
"""Not unpacked: tables of registers of graphic chips, a third of the tree."""


def source() -> Path:
    """The unpacked tree; its folder is named after the package's version.

    When apt offers none (no lists, no network), it is the newest that an earlier run has left.
    """
    folder = cache_folder() / PACKAGE
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "lock"):
        version = candidate(PACKAGE)
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
            if candidate(PACKAGE) is None:
                raise NotOfferedError(f"apt offers no {PACKAGE}")
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=place.parent) as scratch:
                _unpack(Path(scratch), *(f"{PACKAGE}/scripts/{name}" for name in CHECKPATCH))
                os.replace(Path(scratch, PACKAGE, "scripts"), place)
    return place / CHECKPATCH[0]


def _unpack(scratch: Path, *members: str) -> None:
    """Makes `scratch/linux-source-6.12`; `members` are tar's arguments that select files."""
    print(f"fetching {PACKAGE}", flush=True)
    quiet = subprocess.DEVNULL  # apt warns that its own user cannot write to the folder
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

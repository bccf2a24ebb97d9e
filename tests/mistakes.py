# SPDX-License-Identifier: MIT
"""Deliberate mistakes in C: patches that are applied to a copy of the source before it is built.

A patch begins with its licence. The next line says what it makes wrong; `diff -u` follows. Paths
are relative to the folder that is copied.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .built import without_built

GIT_PLACES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
"""Set in git's hooks: with them git would apply to that repository instead."""


class PatchError(Exception):
    """A patch cannot be applied. One line: which patch, where, and what to do about it."""


def numbered(folder: Path) -> dict[int, Path]:
    """The patches N.patch of `folder` by N, in the order of N."""
    found = {int(path.stem): path for path in folder.glob("*.patch")}
    return dict(sorted(found.items()))


def title(patch: Path) -> str:
    """What the patch makes wrong: its second line, a sentence."""
    return patch.read_text().splitlines()[1].removesuffix(".")


def patched(source: Path, patch: Path, into: Path) -> Path:
    """Copy the folder `source` to `into`, replacing it, apply `patch` there, and return `into`.

    PatchError when the patch does not apply exactly:
    its context must still be in the source, though lines may have moved.
    """
    shutil.rmtree(into, ignore_errors=True)
    shutil.copytree(source, into, ignore=without_built)
    # Inside of a repository `git apply` takes paths as relative to its top folder, and skips in
    # silence those outside of the current one. The ceiling hides a repository around `into`.
    environment = {name: v for name, v in os.environ.items() if name not in GIT_PLACES}
    environment["GIT_CEILING_DIRECTORIES"] = str(into.resolve().parent)
    command = ["git", "apply", "--whitespace=nowarn", str(patch.resolve())]
    try:
        done = subprocess.run(command, cwd=into, env=environment, capture_output=True, text=True)
    except FileNotFoundError:
        raise PatchError("git is needed to apply patches: apt-get install git") from None
    if done.returncode:
        said = "; ".join(done.stderr.strip().splitlines())
        raise PatchError(
            f"{patch} no longer applies to {source}: make the same mistake in the source as it "
            f"is now, and write the patch again ({said})"
        )
    return into

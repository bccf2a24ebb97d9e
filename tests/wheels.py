# SPDX-License-Identifier: MIT
"""Builds the project's wheels, for the tests that look into them or install them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests import ROOT

from .built import without_built

SOURCES = ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "ctwsgi", "kmod")
"""What the wheel `ctwsgi` is built from."""

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def copy_of_sources(into: Path) -> Path:
    """The sources of the wheel `ctwsgi` without anything that was built from them."""
    into.mkdir(parents=True)
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, into / name, ignore=without_built)
        else:
            shutil.copy(source, into)
    return into


def build(source: Path, into: Path, path: str | None = None) -> Path:
    """Build the wheel of the project in `source`, with `path` as PATH, and return its file."""
    command = [*PIP, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(into)]
    environment = {**os.environ, "PATH": path if path is not None else os.environ["PATH"]}
    done = subprocess.run(
        [*command, str(source)], env=environment, stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = into.glob("*.whl")
    return wheel

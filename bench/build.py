# SPDX-License-Identifier: MIT
"""Compiles the load generator if it is missing or older than its sources."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests import ROOT

BUILD = ROOT / "build"
LOADGEN = BUILD / "loadgen"


def build_loadgen() -> Path:
    """Returns the path of an up-to-date `build/loadgen`. CalledProcessError when it fails."""
    sources = sorted((ROOT / "bench").glob("loadgen*.[ch]"))
    BUILD.mkdir(exist_ok=True)
    if LOADGEN.exists() and LOADGEN.stat().st_mtime >= max(s.stat().st_mtime for s in sources):
        return LOADGEN
    # Renamed when complete, so that another run never executes an unfinished file.
    fresh = BUILD / f"loadgen.{os.getpid()}"
    units = [str(source) for source in sources if source.suffix == ".c"]
    compiler = os.environ.get("CC", "cc")
    subprocess.run(
        [compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(fresh), *units], check=True
    )
    fresh.rename(LOADGEN)
    return LOADGEN

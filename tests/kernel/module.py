# SPDX-License-Identifier: MIT
"""Builds kmod/ out of tree for a kernel, in a copy under build/kmod, so that kernels keep apart.

python -m tests.kernel.module [--bug N] [--kernel 6.1]     # prints where the modules are
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests import ROOT

from .kernels import SERIES, Kernel, MissingError, get, locked

SOURCE = ROOT / "kmod"
MADE = {".ko", ".o", ".mod", ".cmd", ".symvers", ".order"}
"""What a build leaves beside the sources; it may not even be for the same kernel."""


class BuildError(Exception):
    """make failed; the text is what it printed."""


def build(kernel: Kernel, bug: int = 0) -> Path:
    """ctinject.ko for `kernel`. `bug` 1..8 builds in one of the deliberate mistakes."""
    name = f"{kernel.version}-bug{bug}" if bug else kernel.version
    place = ROOT / "build" / "kmod" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    module = place / "ctinject" / "ctinject.ko"
    with locked(place.with_name(f"{name}.lock")):
        stamp = place.with_name(f"{name}.stamp")
        key = _key(kernel)
        if module.exists() and stamp.exists() and stamp.read_text() == key:
            return module
        stamp.unlink(missing_ok=True)
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(SOURCE, place, ignore=_generated)
        command = ["make", "-C", str(place), f"-j{os.cpu_count()}", f"KDIR={kernel.build}"]
        command += [f"CTINJECT_BUG={bug}"] if bug else []
        made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if made.returncode or not module.exists():
            raise BuildError(made.stdout)
        stamp.write_text(key)
    return module


def _sources() -> list[Path]:
    return sorted(p for p in SOURCE.rglob("*") if p.is_file() and p.suffix not in {*MADE, ".md"})


def _generated(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(folder, name).suffix in MADE or name == ".tmp_versions"]


def _key(kernel: Kernel) -> str:
    """Changes whenever the module would."""
    digest = hashlib.sha256(str(kernel.build.resolve()).encode())
    for path in _sources():
        digest.update(f"\0{path.relative_to(SOURCE)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bug", type=int, default=0)
    parser.add_argument("--kernel", action="append", choices=SERIES, help="only this one")
    options = parser.parse_args()
    status = 0
    for series in options.kernel or SERIES:
        try:
            print(build(get(series), options.bug))
        except (BuildError, MissingError) as error:
            print(error)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MIT
"""Builds kmod/ out of tree for a kernel, in a copy under build/kmod, so that kernels keep apart.

python -m tests.kernel.module [--mistake N] [--kernel 6.1]     # prints where the modules are
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests import ROOT
from tests.built import is_built, without_built
from tests.mistakes import PatchError, numbered, patched

from .kernels import Kernel, MissingError, locked
from .mistakes import PATCHES
from .newest import NAMES, TESTED, in_root, named

SOURCE = ROOT / "kmod"


class BuildError(Exception):
    """No module was built; the text is what make printed, or why a patch does not apply."""


def build(kernel: Kernel, mistake: int = 0) -> Path:
    """ctinject.ko for `kernel`, with a deliberate mistake unless `mistake` is 0."""
    patch = numbered(PATCHES)[mistake] if mistake else None
    name = f"{kernel.version}-mistake{mistake}" if mistake else kernel.version
    place = ROOT / "build" / "kmod" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    module = place / "ctinject" / "ctinject.ko"
    with locked(place.with_name(f"{name}.lock")):
        stamp = place.with_name(f"{name}.stamp")
        key = _key(kernel, patch)
        if module.exists() and stamp.exists() and stamp.read_text() == key:
            return module
        stamp.unlink(missing_ok=True)
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(SOURCE, place, ignore=without_built)
        if patch:
            try:
                patched(SOURCE / "ctinject", patch, place / "ctinject")
            except PatchError as error:
                raise BuildError(str(error)) from None
        made = subprocess.run(
            _make(kernel, place), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if made.returncode or not module.exists():
            raise BuildError(_reason_first(made.stdout))
        stamp.write_text(key)
    return module


def _make(kernel: Kernel, place: Path) -> list[str]:
    make = ["make", f"-j{os.cpu_count()}"]
    if kernel.root is None:
        return [*make, "-C", str(place), f"KDIR={kernel.build}"]
    inside = [*make, "-C", "/work", f"KDIR=/lib/modules/{kernel.version}/build"]
    return in_root(kernel.root, place, inside)


def _reason_first(output: str) -> str:
    """What make printed, with the lines in front that say what went wrong."""
    reasons = [line for line in output.splitlines() if re.search(r"error:|\*\*\*|not found", line)]
    return "\n".join([*reasons[:2], output])


def _sources() -> list[Path]:
    files = (path for path in SOURCE.rglob("*") if path.is_file() and path.suffix != ".md")
    return sorted(path for path in files if not is_built(path.name))


def _key(kernel: Kernel, patch: Path | None) -> str:
    """A digest of all that the module is built from."""
    digest = hashlib.sha256(str(kernel.build.resolve()).encode())
    for path in _sources():
        digest.update(f"\0{path.relative_to(SOURCE)}\0".encode())
        digest.update(path.read_bytes())
    if patch:
        digest.update(patch.read_bytes())
    return digest.hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mistake", type=int, default=0, choices=(0, *numbered(PATCHES)))
    parser.add_argument("--kernel", action="append", choices=NAMES, help="only this one")
    options = parser.parse_args()
    status = 0
    for name in options.kernel or TESTED:
        try:
            print(build(named(name), options.mistake))
        except (BuildError, MissingError) as error:
            print(error)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())

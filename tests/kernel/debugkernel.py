# SPDX-License-Identifier: MIT
"""Builds the debug kernel of `make test-kasan`: Debian's source, the config of debug.config.

    python -m tests.kernel.debugkernel      # builds it if the cache has not got it, prints where

It lies in `$CTWSGI_CACHE/debugkernel`, in a folder named after the source's version and a hash of
config and compiler: a change of any builds anew. A build that was interrupted goes on where it was.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from .kernels import Kernel, MissingError, cache_folder, custom, locked
from .linuxsource import source

CONFIG = Path(__file__).with_name("debug.config")


def debug_kernel() -> Kernel:
    """The kernel, for a guest and for `make -C kmod KDIR=...`. Half an hour on two cores, once."""
    tree = source()
    compiler = subprocess.run(["gcc", "--version"], check=True, capture_output=True).stdout
    key = hashlib.sha256(CONFIG.read_bytes() + compiler).hexdigest()[:16]
    folder = cache_folder() / "debugkernel"
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{tree.name}-{key}"
    with locked(folder / "lock"):
        if not (place / "vmlinux").exists():
            print(f"building the debug kernel of {tree.name}: a long while, once", flush=True)
            try:
                _build(tree, place)
            except subprocess.CalledProcessError as error:
                raise MissingError(f"the debug kernel does not build: {error}") from None
            for older in folder.iterdir():
                if older.is_dir() and older != place:
                    shutil.rmtree(older)
    return custom(place / "vmlinux", place / "lib" / "modules")


def _build(tree: Path, place: Path) -> None:
    """Makes `place`: build/ (what KDIR is), lib/modules/ and, last, vmlinux."""
    build = place / "build"
    build.mkdir(parents=True, exist_ok=True)
    make = ["nice", "make", "-s", "-C", str(tree), f"O={build}", "ARCH=x86_64"]
    if not (build / ".config").exists():
        fragment = {**os.environ, "KCONFIG_ALLCONFIG": str(CONFIG)}
        subprocess.run([*make, "allnoconfig"], env=fragment, check=True)
    _check_config(build / ".config")
    subprocess.run([*make, f"-j{os.cpu_count()}", "vmlinux", "modules"], check=True)
    # It has no modules; but without this modprobe does not know what is built in.
    subprocess.run([*make, f"INSTALL_MOD_PATH={place}", "modules_install"], check=True)
    for path in build.rglob("*.[oa]"):
        # A module needs no object of the kernel's, only the build's own tools.
        if path.relative_to(build).parts[0] not in ("scripts", "tools"):
            path.unlink()
    os.replace(build / "vmlinux", place / "vmlinux")


def _check_config(made: Path) -> None:
    """A line that depends on one which is not there is left out without a word: not here."""
    lines = set(made.read_text().splitlines())
    wanted = [line for line in CONFIG.read_text().splitlines() if line.startswith("CONFIG_")]
    if lost := [line for line in wanted if line not in lines]:
        raise MissingError(f"{CONFIG.name} asks in vain for {', '.join(lost)}")


if __name__ == "__main__":
    print(debug_kernel().vmlinux)

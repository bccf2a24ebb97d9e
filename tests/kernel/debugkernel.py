# SPDX-License-Identifier: MIT
"""Builds the debug kernel of `make test-kasan`: Debian's source, the config of debug.config.

    python -m tests.kernel.debugkernel      # builds it unless it is cached, prints its path

It is in `$CTWSGI_CACHE/debugkernel`, in a folder named after the source's version and a hash of
config and compiler, so that a change of one of them builds a new kernel. An interrupted build is
continued.
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
    """The kernel, for a guest and for `make -C kmod KDIR=...`. The build takes 20 minutes."""
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
    """Makes in `place` build/ (for KDIR), lib/modules/ and, last, vmlinux."""
    build = place / "build"
    build.mkdir(parents=True, exist_ok=True)
    make = ["nice", "make", "-s", "-C", str(tree), f"O={build}", "ARCH=x86_64"]
    if not (build / ".config").exists():
        fragment = {**os.environ, "KCONFIG_ALLCONFIG": str(CONFIG)}
        subprocess.run([*make, "allnoconfig"], env=fragment, check=True)
    _check_config(build / ".config")
    subprocess.run([*make, f"-j{os.cpu_count()}", "vmlinux", "modules"], check=True)
    # The kernel has no modules, but modprobe needs the list of what is built in.
    subprocess.run([*make, f"INSTALL_MOD_PATH={place}", "modules_install"], check=True)
    for path in build.rglob("*.[oa]"):
        # Building a module needs the tools of the build, but none of the kernel's objects.
        if path.relative_to(build).parts[0] not in ("scripts", "tools"):
            path.unlink()
    os.replace(build / "vmlinux", place / "vmlinux")


def _check_config(made: Path) -> None:
    """Fails for a line of CONFIG that kconfig has dropped, which it does without a message."""
    lines = set(made.read_text().splitlines())
    wanted = [line for line in CONFIG.read_text().splitlines() if line.startswith("CONFIG_")]
    if lost := [line for line in wanted if line not in lines]:
        raise MissingError(f"{CONFIG.name} has lines that kconfig drops: {', '.join(lost)}")


if __name__ == "__main__":
    print(debug_kernel().vmlinux)

# SPDX-License-Identifier: MIT
"""Builds a guest's initramfs: busybox, guest-init.sh, and the modules that mount its root."""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .kernels import Kernel, cache_folder, locked

INIT = Path(__file__).with_name("guest-init.sh")
BUSYBOX = Path("/bin/busybox")

MODULES = ("virtio_pci", "virtio_console", "virtio_rng", "9pnet_virtio", "9p", "overlay")
"""The modules with which the kernel reaches the host's root file system."""

FOLDERS = ("bin", "modules", "proc", "sys", "dev", "host", "overlay", "guest")


def initramfs(kernel: Kernel) -> Path:
    """The archive for `kernel`; a change of one of its parts builds a new one."""
    digest = hashlib.sha256()
    for part in (INIT, BUSYBOX, Path(__file__)):
        digest.update(part.read_bytes())
    for module in _modules(kernel):
        digest.update(f"{module} {module.stat().st_mtime_ns}".encode())
    folder = cache_folder() / "initramfs"
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{kernel.version}-{digest.hexdigest()[:16]}"
    with locked(folder / "lock"):
        if not place.exists():
            for older in folder.glob(f"{kernel.version}-*"):
                older.unlink()
            _pack(kernel, place)
    return place


def _modules(kernel: Kernel) -> list[Path]:
    """MODULES and their dependencies, each once, in the order of loading."""
    root = kernel.modules.parent.parent
    command = ["modprobe", "-d", str(root), "-S", kernel.version, "--show-depends", "-a"]
    told = subprocess.run([*command, *MODULES], check=True, capture_output=True, text=True).stdout
    # The other lines are `builtin NAME`.
    files = [Path(line.split()[1]) for line in told.splitlines() if line.startswith("insmod ")]
    return list(dict.fromkeys(files))


def _pack(kernel: Kernel, place: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for folder in FOLDERS:
            (root / folder).mkdir()
        shutil.copy(BUSYBOX, root / "bin" / "busybox")
        shutil.copy(INIT, root / "init")
        (root / "init").chmod(0o755)
        order = []
        for source in _modules(kernel):
            module = root / "modules" / source.name.removesuffix(".xz")
            data = source.read_bytes()
            module.write_bytes(lzma.decompress(data) if source.suffix == ".xz" else data)
            subprocess.run(["strip", "--strip-debug", module], check=True)
            order.append(module.name)
        (root / "modules" / "order").write_text("".join(f"{name}\n" for name in order))
        names = "".join(f"{p.relative_to(root)}\n" for p in sorted(root.rglob("*")))
        packed = place.with_suffix(".new")
        with packed.open("wb") as out:
            subprocess.run(
                ["cpio", "-o", "-H", "newc", "--quiet"],
                cwd=root,
                input=names.encode(),
                stdout=out,
                check=True,
            )
        os.replace(packed, place)

# SPDX-License-Identifier: MIT
"""Debian's kernels for the guests: found, fetched and unpacked by apt, once.

    python -m tests.kernel.kernels          # fetches what is missing, prints where it is

A release of Debian offers one or two of the series that the module supports. A series that apt does
not offer is left out: NotOfferedError says so.

Unpacked, not installed: installing an image would pull in initramfs-tools and write to /boot.
They are in `$CTWSGI_CACHE/kernels` (default ~/.cache/ctwsgi), one folder for each version of a
kernel's packages. A folder is renamed into place when it is complete.
"""

from __future__ import annotations

import fcntl
import lzma
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# Not the cloud flavour: it has no 9p, by which a guest reaches its root file system.
SERIES = {
    "6.1": re.compile(r"linux-headers-(6\.1\.0-\d+-amd64)"),
    "6.12": re.compile(r"linux-headers-(6\.12\.\d+\+deb\d+-amd64)"),
}
"""The kernels that the module supports, and what Debian calls their headers."""

REALTIME = {"6.12-rt": re.compile(r"linux-headers-(6\.12\.\d+\+deb\d+-rt-amd64)")}
"""Real-time kernels, which only `make test-full` boots."""

_EVERY = SERIES | REALTIME


class MissingError(Exception):
    """A kernel cannot be had; the text says why."""


class NotOfferedError(MissingError):
    """apt has no kernel of this series: this Debian cannot test it, which is no failure."""


@dataclass(frozen=True)
class Kernel:
    """What a guest boots: `version` is its `uname -r`."""

    version: str
    vmlinux: Path
    """The uncompressed ELF image, which QEMU starts by PVH in half the time of a bzImage."""
    modules: Path
    """What becomes /lib/modules in the guest: holds a folder `version`."""
    root: Path | None = None
    """The root directory that a module for it is built in, with the compiler that it wants."""

    @property
    def build(self) -> Path:
        """What `make` is given as KDIR."""
        return self.modules / self.version / "build"


def cache_folder() -> Path:
    """The folder of downloads and builds that outlive a checkout."""
    folder = os.environ.get("CTWSGI_CACHE") or Path.home() / ".cache" / "ctwsgi"
    return Path(folder)


def custom(vmlinux: Path, modules: Path) -> Kernel:
    """A kernel that somebody built: `modules` is the `lib/modules` of its modules_install."""
    versions = [entry.name for entry in modules.iterdir() if (entry / "modules.dep").exists()]
    if len(versions) != 1:
        raise MissingError(f"{modules} has {len(versions)} kernels' modules, not one")
    return Kernel(versions[0], vmlinux.resolve(), modules.resolve())


@cache
def get(series: str) -> Kernel:
    """The newest kernel of `series` that apt offers, fetched unless the cache has it.

    When apt offers none (no lists, no network), the newest that an earlier run has left.
    """
    folder = cache_folder() / "kernels"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "lock"):
        offered = _newest(series)
        if offered is None:
            left = [p for p in folder.iterdir() if _EVERY[series].fullmatch(_headers_of(p))]
            if left:
                return _at(max(left, key=lambda p: p.stat().st_mtime))
            # If apt offers another series, its lists are there: an update would not add this one.
            if not any(map(_newest, SERIES)):
                _update_lists()
                offered = _newest(series)
        if offered is None:
            raise NotOfferedError(f"apt offers no linux-headers of {series} for amd64")
        version, revision = offered
        place = folder / f"{version}_{revision}"
        if not place.exists():
            try:
                _fetch(version, place)
            except (OSError, subprocess.CalledProcessError) as error:
                raise MissingError(f"Linux {version} cannot be fetched: {error}") from error
        return _at(place)


def first_of(*names: str) -> Kernel:
    """The first of these series that apt offers; all of SERIES, the newest first, by default."""
    reasons = []
    for series in names or tuple(reversed(SERIES)):
        try:
            return get(series)
        except NotOfferedError as error:
            reasons.append(str(error))
    raise NotOfferedError("; ".join(reasons))


def untested() -> list[str]:
    """Series that apt offers and SERIES does not have, the newest first."""
    names = output("apt-cache", "pkgnames", "linux-headers-").split()
    matches = [re.fullmatch(r"linux-headers-(\d+\.\d+)[-+.\w]*-amd64", name) for name in names]
    versions = {m[0]: m[1] for m in matches if m and not re.search("cloud|rt-amd64", m[0])}
    wanted = [name for name, series in versions.items() if series not in SERIES]
    found = {versions[name] for name in wanted if candidate(name)}
    return sorted(found, key=numbers, reverse=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock between processes; the kernel releases it when its owner dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _headers_of(place: Path) -> str:
    return "linux-headers-" + place.name.partition("_")[0]


def _at(place: Path) -> Kernel:
    version = place.name.partition("_")[0]
    return Kernel(version, place / "vmlinux", place / "lib" / "modules")


def _newest(series: str) -> tuple[str, str] | None:
    """The newest kernel's `uname -r` and its headers' Debian version, as apt knows them now."""
    line = series.partition("-")[0]
    names = output("apt-cache", "pkgnames", f"linux-headers-{line}.").split()
    versions = [m[1] for m in map(_EVERY[series].fullmatch, names) if m]
    # apt also knows names of packages that the archive has removed: take the newest that it can
    # install.
    for version in sorted(versions, key=numbers, reverse=True):
        if revision := candidate(f"linux-headers-{version}"):
            return version, revision
    return None


def candidate(package: str, apt: Path | None = None) -> str | None:
    """The version of `package` that apt would install; None when there is none."""
    policy = output("apt-cache", "policy", package, apt=apt)
    found = re.search(r"Candidate: (?!\(none\))(\S+)", policy)
    return found[1] if found else None


def numbers(version: str) -> list[int]:
    """A key that sorts versions."""
    return [int(n) for n in re.findall(r"\d+", version)]


def output(*command: str, apt: Path | None = None) -> str:
    """What a command of apt prints; `apt` is another configuration than the machine's."""
    environ = {**os.environ, **({"APT_CONFIG": str(apt)} if apt else {})}
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environ)
        return done.stdout
    except FileNotFoundError:
        raise NotOfferedError(f"no {command[0]} here: the kernels are Debian's") from None


def _update_lists() -> None:
    if os.geteuid() == 0:
        subprocess.run(["apt-get", "update", "-qq"], check=False)


def _packages(version: str) -> list[str]:
    """The image, the headers, and the headers' own pieces; not compilers and hooks."""
    depends = output("apt-cache", "depends", f"linux-headers-{version}")
    pieces = re.findall(r"Depends: (linux-(?:headers|kbuild|compiler)-\S+)", depends)
    return [f"linux-image-{version}", f"linux-headers-{version}", *pieces]


def _fetch(version: str, place: Path) -> None:
    """Makes `place`: downloads, unpacks, and prepares for depmod, make and QEMU."""
    print(f"fetching Linux {version}", flush=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=place.parent) as scratch:
        debs, root = Path(scratch, "debs"), Path(scratch, "root")
        debs.mkdir()
        root.mkdir()
        download = ["apt-get", "download", "-qq", *_packages(version)]
        quiet = subprocess.DEVNULL  # complains about root's own folder
        if subprocess.run(download, cwd=debs, stderr=quiet).returncode:
            _update_lists()
            if subprocess.run(download, cwd=debs).returncode:
                raise MissingError(f"apt cannot download Linux {version}")
        # Debian 13's packages have usr/lib/modules, Debian 12's lib/modules.
        (root / "usr" / "lib").mkdir(parents=True)
        (root / "lib").symlink_to("usr/lib")
        for deb in debs.iterdir():
            unpack(deb, root)
        modules = root / "lib" / "modules" / version
        headers = Path("usr", "src", f"linux-headers-{version}")
        link = modules / "build"
        link.unlink(missing_ok=True)
        # Relative to the real folder, usr/lib/modules/VERSION: lib is a link.
        link.symlink_to(Path("../../../src") / headers.name)
        # The headers' Makefile includes another by its installed place.
        makefile = root / headers / "Makefile"
        makefile.write_text(makefile.read_text().replace("/usr/src/", f"{place}/usr/src/"))
        subprocess.run(["depmod", "-b", root, version], check=True)
        (root / "vmlinux").write_bytes(extract((root / "boot" / f"vmlinuz-{version}").read_bytes()))
        os.replace(root, place)
    _forget_older(place)


def unpack(deb: Path, root: Path) -> None:
    """Unlike `dpkg-deb -x`, tar can be told to go through the link lib -> usr/lib."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as packed:
        extract = ["tar", "-C", root, "-x", "--keep-directory-symlink", "--no-same-owner"]
        subprocess.run(extract, stdin=packed.stdout, check=True)
    if packed.returncode:
        raise MissingError(f"{deb.name} does not unpack")


def _forget_older(place: Path) -> None:
    """Removes earlier kernels of the same series: they are 400 MB each."""
    for series in _EVERY.values():
        if series.fullmatch(_headers_of(place)):
            for other in place.parent.iterdir():
                if other != place and series.fullmatch(_headers_of(other)):
                    shutil.rmtree(other)


def extract(image: bytes) -> bytes:
    """The ELF image inside a bzImage (Documentation/arch/x86/boot.rst for the offsets)."""
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = image[start : start + length]
    if payload.startswith(b"\xfd7zXZ\0"):
        # Four bytes of length follow the stream, hence not lzma.decompress().
        elf = lzma.LZMADecompressor().decompress(payload)
    elif payload.startswith(b"\x28\xb5\x2f\xfd"):
        # The same four bytes make zstd fail, after it has written everything.
        command = ["zstd", "-dcq"]
        elf = subprocess.run(command, input=payload, capture_output=True, check=False).stdout
    else:
        raise MissingError(f"a kernel packed in an unknown way: {payload[:6].hex()}")
    if not elf.startswith(b"\x7fELF"):
        raise MissingError("a kernel that does not unpack")
    return elf


def main() -> int:
    """Fetches what is missing; a line for each series, and one for those that are not tested."""
    status = 1
    try:
        for series in SERIES:
            try:
                print(f"Linux {series}: {get(series).vmlinux}", flush=True)
                status = 0
            except MissingError as error:
                print(f"Linux {series} is left out: {error}", flush=True)
        if others := untested():
            print(f"apt also offers Linux {', '.join(others)}, which these tests leave out")
    except MissingError as error:
        print(error)
    return status


if __name__ == "__main__":
    sys.exit(main())

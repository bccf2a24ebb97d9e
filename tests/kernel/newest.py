# SPDX-License-Identifier: MIT
"""The newest kernel of Debian's archive, unpacked with all that a module for it is built with.

    python -m tests.kernel.newest           # fetches it unless the cache has it, prints where it is

It comes from the backports of the stable release, by name, so that next year's is found as well.
Its compiler and libc may be newer than this machine's, so kernel, headers and compiler are unpacked
into one folder, and the module is built with that as its root directory.

The machine's apt is only read: for the mirror that it uses. The archive is asked with an apt
configuration of its own in `$CTWSGI_CACHE/kernels/newest/apt`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

from . import kernels
from .kernels import REALTIME, SERIES, Kernel, MissingError, NotOfferedError, cache_folder, locked

NAME = "newest"
"""What the tests call this kernel."""

TESTED = (*SERIES, NAME)
"""The kernels of a run that names none."""

NAMES = (*TESTED, *REALTIME)

HEADERS = re.compile(r"linux-headers-(\d+\.\d+\.\d+\+deb\d+-amd64)")

PIECES = ("headers", "binary", "modules")
"""The packages of a kernel: of the image only what it consists of, without what installs it."""

TOOLS = ("binutils", "coreutils", "dash", "findutils", "grep", "make", "mawk", "sed")
"""What building takes besides the packages that the headers depend on."""

FRESH = 12 * 3600
"""Seconds for which the archive's lists are believed."""

KEYRINGS = ("debian-archive-keyring.pgp", "debian-archive-keyring.gpg")

CONFIGURATION = """\
Dir::Etc::SourceList "{place}/debian.sources";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "{place}/state";
Dir::State::Status "{place}/status";
Dir::Cache "{place}/cache";
Acquire::Languages "none";
APT::Architecture "amd64";
APT::Sandbox::User "root";
Debug::NoLocking "1";
"""

SOURCES = """\
Types: deb
URIs: {mirror}
Suites: {suites}
Components: main
{more}
"""

MOUNTS = ("work", "dev", "proc", "tmp")

BUILD = """\
root=$1 folder=$2
shift 2
mount --bind "$folder" "$root/work" &&
    mount --rbind /dev "$root/dev" &&
    mount --rbind /proc "$root/proc" &&
    mount -t tmpfs none "$root/tmp" &&
    exec chroot "$root" "$@"
"""


def named(name: str) -> Kernel:
    """The kernel of that name: one of NAMES."""
    return get() if name == NAME else kernels.get(name)


@cache
def get() -> Kernel:
    """The newest kernel, fetched unless the cache has it.

    When the archive cannot be reached, the one that an earlier run has left. MissingError when
    there is none; NotOfferedError when this machine's apt does not use Debian's archive, or that
    has nothing newer than SERIES.
    """
    folder = cache_folder() / "kernels" / NAME
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "lock"):
        left = sorted(folder.glob("*+deb*_*"))
        try:
            archive = Archive(folder / "apt")
            archive.update()
            version, revision = archive.newest()
            place = folder / f"{version}_{revision}"
            if not place.exists():
                archive.fetch(version, place)
                for other in left:
                    shutil.rmtree(other)
        except (OSError, subprocess.CalledProcessError) as error:
            if not left:
                raise MissingError(
                    f"the newest kernel cannot be had: {_reason(error)}: is the network there? "
                    "Then: python -m tests.kernel.newest"
                ) from error
            place = left[-1]
        return Kernel(place.name.partition("_")[0], place / "vmlinux", place / "lib/modules", place)


def in_root(root: Path, folder: Path, command: list[str]) -> list[str]:
    """What runs `command` with `root` as its root directory and `folder` as /work there."""
    alone = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else [])]
    return [*alone, "sh", "-c", BUILD, "sh", str(root), str(folder), *command]


def _reason(error: Exception) -> str:
    """One line, apt's own if it has said something."""
    said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
    errors = [line for line in said if line.startswith("E: ")]
    return (errors or said or ["?"])[0]


class Archive:
    """Debian's archive, asked with a configuration of its own in the folder `place`."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._config = place / "apt.conf"
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (place / folder).mkdir(parents=True, exist_ok=True)
        (place / "status").touch()
        self._config.write_text(CONFIGURATION.format(place=place))

    def _ask(self, *command: str) -> str:
        return kernels.output(*command, apt=self._config)

    def update(self) -> None:
        """Fetches the lists of packages, unless they are new enough."""
        stamp = self._place / "updated"
        if stamp.exists() and time.time() - stamp.stat().st_mtime < FRESH:
            return
        # Only the release's name comes from the alias: a proxy may have kept the rest for long.
        self._fetch_lists("stable", "Targets-Remove: Packages")
        lists = (self._place / "state/lists").glob("*_stable_*Release")
        names = [re.search(r"^Codename: (\w+)$", path.read_text(), re.M) for path in lists]
        if not names or not names[0]:
            raise MissingError("Debian's archive does not name its stable release")
        self._fetch_lists(f"{names[0][1]} {names[0][1]}-backports")
        stamp.touch()

    def _fetch_lists(self, suites: str, *more: str) -> None:
        found = [path for name in KEYRINGS if (path := Path("/usr/share/keyrings", name)).exists()]
        lines = "\n".join([*more, *(f"Signed-By: {path}" for path in found[:1])])
        sources = SOURCES.format(mirror=_mirror(), suites=suites, more=lines)
        (self._place / "debian.sources").write_text(sources)
        self._ask("apt-get", "update", "-qq", "--error-on=any", "--allow-releaseinfo-change")

    def newest(self) -> tuple[str, str]:
        """The newest kernel's `uname -r` and its Debian version."""
        names = self._ask("apt-cache", "pkgnames", "linux-headers-").split()
        versions = [found[1] for found in map(HEADERS.fullmatch, names) if found]
        tested = max(map(kernels.numbers, SERIES))
        for version in sorted(versions, key=kernels.numbers, reverse=True):
            if kernels.numbers(version)[:2] <= tested:
                break
            if revision := kernels.candidate(f"linux-headers-{version}", self._config):
                return version, revision
        raise NotOfferedError(f"Debian's archive has no kernel newer than {[*SERIES][-1]}")

    def fetch(self, version: str, place: Path) -> None:
        """Makes `place`: kernel, headers and compiler, in a root directory."""
        print(f"fetching Linux {version} with its compiler, 200 MB", flush=True)
        pieces = [f"linux-{piece}-{version}" for piece in PIECES]
        options = ["-qq", "--yes", "--download-only", "--no-install-recommends"]
        self._ask("apt-get", "clean")
        self._ask("apt-get", "install", *options, *pieces, *TOOLS)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=place.parent) as scratch:
            root = Path(scratch, "root")
            for folder in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", *MOUNTS):
                (root / folder).mkdir(parents=True)
            for name in ("bin", "sbin", "lib", "lib64"):
                (root / name).symlink_to(f"usr/{name}")
            for deb in sorted((self._place / "cache/archives").glob("*.deb")):
                kernels.unpack(deb, root)
            # What these packages' own scripts would have made.
            (root / "usr/bin/awk").symlink_to("mawk")
            modules = root / "lib/modules" / version
            subprocess.run(["depmod", "-b", root, version], check=True)
            (root / "vmlinux").write_bytes(kernels.extract((modules / "vmlinuz").read_bytes()))
            root.rename(place)
        self._ask("apt-get", "clean")


def _mirror() -> str:
    """The mirror from which this machine has its own packages."""
    listed = kernels.output(
        "apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"
    )
    for uri in listed.split():
        if uri.rstrip("/").endswith("/debian"):
            return uri
    raise NotOfferedError("this machine's apt does not use Debian's archive")


def main() -> int:
    """Fetches it unless it is here, and says in one line where it is, or why it is not."""
    try:
        print(f"Linux {NAME}: {get().vmlinux}")
    except MissingError as error:
        print(f"Linux {NAME} is left out: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MIT
"""For tests that watch from outside: who still runs, and how to run something without root."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests import ROOT

NOBODY = "65534"

# A home of mode 0700 hides the interpreter (pyenv) or the checkout from `nobody`. In a mount
# namespace of its own each such directory gets an empty one above it, with only the way to what
# is needed bound back in.
_OPEN_THE_WAY = """
set -e
mount -t tmpfs open /mnt
mkdir /mnt/kept
mount --rbind / /mnt/kept
while [ "$1" != -- ]; do
    closed=$1 wanted=$2
    shift 2
    mountpoint -q "$closed" || mount -t tmpfs -o mode=755 open "$closed"
    mkdir -p "$wanted"
    mount --rbind "/mnt/kept$wanted" "$wanted"
done
shift
exec "$@"
"""


def running_with(mark: str) -> list[int]:
    """The pids of all processes whose environment has `mark` (`NAME=value`)."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue  # ended meanwhile, or another user's
    return found


def unprivileged(command: Sequence[str]) -> list[str]:
    """`command` as a user without privileges: as it is, or as nobody when we are root."""
    if os.geteuid():
        return list(command)
    ways = []
    for needed in {Path(sys.executable).resolve().parents[1], Path(sys.prefix), ROOT}:
        closed = [p for p in reversed(needed.parents) if not p.stat().st_mode & 0o001]
        if closed:
            ways += [str(closed[0]), str(needed)]
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    # Coverage is not measured there: nobody may write its files.
    unmeasured = ["-u", "COVERAGE_PROCESS_CONFIG", "-u", "COVERAGE_PROCESS_START"]
    environ = ["env", *unmeasured, "HOME=/tmp", "PYTHONDONTWRITEBYTECODE=1"]
    opened = ["unshare", "--mount", "sh", "-c", _OPEN_THE_WAY, "sh", *ways, "--"]
    return [*opened, *drop, *environ, *command]

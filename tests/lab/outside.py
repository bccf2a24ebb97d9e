# SPDX-License-Identifier: MIT
"""For tests that watch a lab from outside: what still runs, and how to run it without root."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests import ROOT

NOBODY = "65534"

# A home directory of mode 0700 hides the interpreter (pyenv) or the checkout from `nobody`. So the
# command gets a mount namespace, in which an empty directory covers each such directory, and only
# what is needed is mounted into it again.
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
            continue  # it has ended, or it is another user's
    return found


def unprivileged(command: Sequence[str]) -> list[str]:
    """`command` for a user without privileges: as it is, or run as `nobody` when we are root."""
    if os.geteuid():
        return list(command)
    ways = []
    for needed in {Path(sys.executable).resolve().parents[1], Path(sys.prefix), ROOT}:
        closed = [p for p in reversed(needed.parents) if not p.stat().st_mode & 0o001]
        if closed:
            ways += [str(closed[0]), str(needed)]
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    # Without coverage, whose files the user `nobody` cannot write.
    unmeasured = ["-u", "COVERAGE_PROCESS_CONFIG", "-u", "COVERAGE_PROCESS_START"]
    environ = ["env", *unmeasured, "HOME=/tmp", "PYTHONDONTWRITEBYTECODE=1"]
    opened = ["unshare", "--mount", "sh", "-c", _OPEN_THE_WAY, "sh", *ways, "--"]
    return [*opened, *drop, *environ, *command]

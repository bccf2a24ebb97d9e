# SPDX-License-Identifier: MIT
"""The folders in which maps are pinned: one for each device, and which device that is.

NETNS and IFINDEX in a folder's name are not enough to tell its device: the kernel gives the number
of a network namespace again after its end. So each folder also holds a map of the kernel's for
devices, from which it removes a device that vanishes or leaves its namespace.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import InjectorError
from .host import BPFFS
from .libbpf import DEVMAP, BpfError, Map

ALL_PINS = BPFFS / "ctwsgi"
"""The folder of all pins, which is also what commands lock."""

OWNER = "device"
"""The map in a folder that has the folder's device as its only entry."""

LOCK_WAIT = 30.0
"""Seconds that a command waits for another one."""

_FIRST = bytes(4)


def claim(folder: Path) -> None:
    """Make the folder of a device of this network namespace, and note the device in it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = Map.make(DEVMAP, OWNER, 4, 4, 1)
    try:
        owner.set(_FIRST, _number(folder))
        owner.pin(folder / OWNER)
    finally:
        owner.close()


def is_claimed(folder: Path) -> bool:
    """Whether the folder belongs to a device that exists. BpfError when that cannot be read."""
    try:
        return _has_device(folder)
    except BpfError as e:
        if e.code not in (errno.ENOENT, errno.ENOTDIR):
            raise
        return False


def _has_device(folder: Path) -> bool:
    """BpfError when the folder does not tell."""
    owner = Map.pinned(folder / OWNER)
    try:
        return owner.get(_FIRST) == _number(folder)
    except KeyError:
        return False
    finally:
        owner.close()


def _number(folder: Path) -> bytes:
    return int(folder.name).to_bytes(4, "little")


def remove_stale_pins() -> None:
    """Remove the folders of devices that do not exist any more."""
    for folder in ALL_PINS.glob("*/*"):
        with suppress(BpfError):
            if not _has_device(folder):
                shutil.rmtree(folder, ignore_errors=True)
                with suppress(OSError):
                    folder.parent.rmdir()


@contextmanager
def alone() -> Iterator[None]:
    """No other command changes programs and pins in the `with`.

    Otherwise two commands for one device could pin some maps of each. InjectorError when the other
    command is not done within LOCK_WAIT seconds.
    """
    try:
        ALL_PINS.mkdir(mode=0o700)
    except FileExistsError:
        pass  # whatever it is: _opened() looks
    except OSError:  # without a bpf file system there are no pins
        yield
        return
    folder = _opened()
    try:
        _lock(folder)
        yield
    finally:
        os.close(folder)


def _opened() -> int:
    """The folder of all pins. Only root may open it, because whoever opens it can lock it."""
    try:
        folder = os.open(ALL_PINS, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as e:
        raise InjectorError(f"{ALL_PINS}: {e.strerror}: rm {ALL_PINS}") from None
    if os.fstat(folder).st_uid != os.geteuid():  # anybody may write to /sys/fs/bpf
        os.close(folder)
        raise InjectorError(f"{ALL_PINS} belongs to another user: rm -r {ALL_PINS}")
    os.fchmod(folder, 0o700)
    return folder


def _lock(folder: int) -> None:
    end = time.monotonic() + LOCK_WAIT
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise InjectorError(
                    f"another `ctwsgi gateway` command holds {ALL_PINS}: see `lsof {ALL_PINS}`"
                ) from None
            time.sleep(0.05)

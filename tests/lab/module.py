# SPDX-License-Identifier: MIT
"""Whether the kernel module can inject in this lab: loads it, or says in one line why not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from ctwsgi.check.host import module_refusal, module_version

BUILT = Path(__file__).parents[2] / "kmod" / "ctinject" / "ctinject.ko"
"""What `make -C kmod` leaves for the running kernel, or for another one."""


def why_no_module() -> str | None:
    """None when it is loaded, if need be now; it stays so, for other labs may use it as well."""
    if module_version():
        return None
    if refusal := module_refusal():
        return refusal
    if os.geteuid():
        return "ctinject is not loaded, and only root can do that"
    if _succeeds("modprobe", "--quiet", "ctinject"):
        return None
    if not BUILT.exists():
        return f"ctinject is neither installed for {os.uname().release} nor built: make -C kmod"
    if _built_for() != os.uname().release:
        return f"kmod/ctinject/ctinject.ko is built for {_built_for()}: make -C kmod"
    # A stock part of the kernel that the module builds on, and insmod does not fetch.
    _succeeds("modprobe", "--quiet", "nf_conntrack")
    if not _succeeds("insmod", str(BUILT)):
        return "insmod kmod/ctinject/ctinject.ko fails (the kernel's log tells why)"
    return None


def _built_for() -> str:
    done = subprocess.run(["modinfo", "-F", "vermagic", str(BUILT)], capture_output=True, text=True)
    return (done.stdout.split() or ["?"])[0]


def _succeeds(*command: str) -> bool:
    try:
        return not subprocess.run(command, capture_output=True).returncode
    except FileNotFoundError:
        return False

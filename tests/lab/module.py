# SPDX-License-Identifier: MIT
"""Loads the kernel module if need be, or says in one line why it cannot inject here."""

from __future__ import annotations

import os
from pathlib import Path

from ctwsgi.check.host import module_refusal, module_version

from .command import run_command

BUILT = Path(__file__).parents[2] / "kmod" / "ctinject" / "ctinject.ko"
"""Built by `make -C kmod`, for the running kernel or for another one."""


def why_no_module() -> str | None:
    """None when it is loaded. Loads it if need be, and leaves it loaded: other labs may use it."""
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
    # The module depends on it, and insmod does not load dependencies.
    _succeeds("modprobe", "--quiet", "nf_conntrack")
    if not _succeeds("insmod", str(BUILT)):
        return "insmod kmod/ctinject/ctinject.ko fails (the kernel's log tells why)"
    return None


def _built_for() -> str:
    done = run_command(["modinfo", "-F", "vermagic", str(BUILT)], os.environ)
    return (done.stdout.split() or ["?"])[0]


def _succeeds(*command: str) -> bool:
    try:
        return not run_command(command, os.environ).returncode
    except FileNotFoundError:
        return False

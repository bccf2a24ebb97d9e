# SPDX-License-Identifier: MIT
"""Whether the eBPF injector is attached, or can be: its part of `ctwsgi check`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from socket import if_indextoname

from ..ebpf.errors import InjectorError
from ..ebpf.host import kernel_refusal, pinned_devices, require_object, require_rights
from ..ebpf.libbpf import require_library
from .finding import Finding, Level


def _refusal(requirement: Callable[[], object]) -> str:
    try:
        requirement()
    except InjectorError as e:
        return str(e)
    return ""


def check_ebpf(root: Path, release: str) -> Iterator[Finding]:
    """The devices that have the program; without any, the first reason why none can have it.

    `root` is a file system's root, / for this host, and `release` the kernel's.
    """
    attached = [_name(index) for index in pinned_devices(root)]
    if attached:
        text = f"attached to {', '.join(sorted(attached))}: `ctwsgi gateway status DEV` tells more"
        yield Finding(Level.OK, "ebpf", text)
        return
    refusals = [
        kernel_refusal(release, root),
        *map(_refusal, (require_object, require_library, require_rights)),
    ]
    for refusal in filter(None, refusals):
        yield Finding(Level.NOTE, "ebpf", refusal)
        return
    yield Finding(Level.OK, "ebpf", "can be attached: `ctwsgi gateway attach DEV`")


def _name(index: int) -> str:
    try:
        return if_indextoname(index)
    except OSError:
        return f"a device that is gone ({index})"

# SPDX-License-Identifier: MIT
"""Whether the eBPF injector is attached, or can be: its part of `ctwsgi check`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from socket import if_indextoname

from ..ebpf.errors import InjectorError
from ..ebpf.host import kernel_refusal, pinned_devices, require_object, require_rights
from ..ebpf.injector import Injector
from ..ebpf.libbpf import require_library
from ..ebpf.structs import Selection, Settings
from ..wire.address import show
from .finding import Finding, Level
from .program import Program


@dataclass(frozen=True)
class Ebpf:
    """`programs`: those of this network namespace's devices."""

    findings: tuple[Finding, ...]
    programs: tuple[Program, ...] = ()


def check_ebpf(root: Path, release: str) -> Ebpf:
    """The devices that have the program; without any, the first reason why none can have it.

    `root` is a file system's root, / for this host, and `release` the kernel's.
    """
    looked = [_look(index) for index in sorted(pinned_devices(root))]
    if looked:
        programs = tuple(program for _, program in looked if program)
        return Ebpf(tuple(finding for finding, _ in looked), programs)
    refusals = [
        kernel_refusal(release, root),
        *map(_refusal, (require_object, require_library, require_rights)),
    ]
    for refusal in filter(None, refusals):
        return Ebpf((Finding(Level.NOTE, "ebpf", refusal),))
    return Ebpf((Finding(Level.OK, "ebpf", "can be attached: `ctwsgi gateway attach DEV`"),))


def _refusal(requirement: Callable[[], object]) -> str:
    try:
        requirement()
    except InjectorError as e:
        return str(e)
    return ""


def _look(index: int) -> tuple[Finding, Program | None]:
    """What is to say about a device that has pinned maps, and its program if that can be read."""
    try:
        name = if_indextoname(index)
    except OSError:
        return _gone(index), None
    try:
        injector = Injector(name)
        if not injector.is_known:
            return _gone(index), None
        ports = tuple(injector.udp_ports())
        program = Program(name, injector.settings(), tuple(injector.backends()), ports)
        if injector.attached:
            return _attached(program, injector.key_id()), program
    except InjectorError as e:
        return Finding(Level.NOTE, "ebpf", str(e)), None
    text = f"{name} has lost its program, and connections get no header. Attach it again:"
    return Finding(Level.TODO, "ebpf", text, _again(program)), program


def _gone(index: int) -> Finding:
    text = f"a device that is gone ({index}) has left maps: the next `ctwsgi gateway attach` "
    return Finding(Level.NOTE, "ebpf", f"{text}removes them")


def _attached(program: Program, key: int | None) -> Finding:
    name = program.device
    if program.settings.signed and key is not None:
        level, what = Level.OK, f"headers are signed with key {key}"
    else:
        level = Level.NOTE
        what = "headers are not signed, and only a guard makes them trustworthy"
    text = f"attached to {name}: {what}; `ctwsgi gateway status {name}` tells more"
    return Finding(level, "ebpf", text)


def _again(program: Program) -> str:
    """The command that attached it, as far as the settings tell."""
    settings, default = program.settings, Settings()
    words = ["ctwsgi gateway attach", program.device]
    words += [f"--backend {show(*address)}" for address in program.backends]
    if settings.selection is Selection.MARK:
        words.append(f"--mark {settings.mark:#x}/{settings.mask:#x}")
    words += [f"--udp {port}" for port in program.udp_ports]
    if settings.signed:
        words.append("--auth-key-file FILE")
    if settings.pass_existing:
        words.append("--existing pass")
    if settings.sweep != default.sweep:
        words.append(f"--sweep {settings.sweep / 1000:g}")
    if settings.one_armed:
        words.append("--one-armed")
    return " ".join(words)

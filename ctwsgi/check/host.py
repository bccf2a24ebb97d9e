# SPDX-License-Identifier: MIT
"""The kernel's part of `ctwsgi check`: the module, its keys and counters, conntrack's settings.

`root` is a file system's root, / for this host: the folder that holds proc, sys and lib/modules.
Keys, counters and conntrack's table are those of this process's network namespace.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..drops import COMMON_HINTS
from .finding import Finding, Level

_RELAY = "`ctwsgi relay` injects without it (docs/relay.md)"

HINTS = {
    **COMMON_HINTS,
    "unarmed": "the first packets that a rule has ever selected here; their senders repeat them",
    "user_namespace": "a user's network namespace: root of the host may allow such ones with "
    "echo Y >/sys/module/ctinject/parameters/user_namespaces",
    "no_syn": "connections that were under way when rule or module came; they must connect again",
    "flow_limit": "raise /sys/module/ctinject/parameters/max_flows",
    "memory": "raise /sys/module/ctinject/parameters/max_memory (KiB), or give the host memory",
    "frame_limit": "raise /sys/module/ctinject/parameters/max_frames, or prefer ctproxy",
    "sequence": "segments far outside of the connection",
    "no_key": "a key was removed while connections that it signs were opening",
    "build": "the kernel had no memory for a packet",
    "unloading": "packets while the module was unloaded",
}
"""For each `drop_` counter of kmod/ctinject/stats.h."""

_ELSEWHERE = (
    "replies by another device than the one that leads to the server: somebody sends in its name, "
    "or routes are asymmetric (then /sys/module/ctinject/parameters/check_device must be N)"
)


def _read(path: Path) -> str | None:
    """The text, stripped; None when there is no such file. Raises PermissionError."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return None


def module_version(root: Path = Path("/")) -> str | None:
    """The version of the loaded module, else None."""
    return _read(root / "sys/module/ctinject/version")


def module_refusal(root: Path = Path("/")) -> str | None:
    """Why this kernel can load no module, or None."""
    if _read(root / "proc/modules") is None:
        return "this kernel is built without modules"
    if _read(root / "proc/sys/kernel/modules_disabled") == "1":
        return "kernel.modules_disabled forbids modules until the next boot"
    return None


def installed_module(root: Path, release: str) -> Path | None:
    """The file that modprobe loads for the kernel `release`."""
    found = sorted((root / "lib/modules" / release).glob("**/ctinject.ko*"))
    return found[0] if found else None


def _file_version(module: Path) -> str | None:
    try:
        said = subprocess.run(
            ["modinfo", "-F", "version", str(module)], capture_output=True, text=True
        ).stdout
    except FileNotFoundError:
        return None
    return said.strip() or None


def check_module(root: Path, release: str, wanted: bool) -> Iterator[Finding]:
    """Whether the module is loaded or can be. If it cannot, that is a todo when it is `wanted`."""
    lacking = Level.TODO if wanted else Level.NOTE
    loaded, installed = module_version(root), installed_module(root, release)
    if loaded is not None:
        yield Finding(Level.OK, "module", f"ctinject {loaded} is loaded")
        there = _file_version(installed) if installed else None
        if installed is None:
            yield Finding(
                Level.NOTE,
                "module",
                f"none is installed for {release}: after the next boot it is missing",
                "make -C kmod install     # or dkms-install",
            )
        elif there and there != loaded:
            yield Finding(
                Level.NOTE, "module", f"{there} is installed: rmmod and modprobe to change over"
            )
        return
    if refusal := module_refusal(root):
        yield Finding(lacking, "module", f"{refusal}: {_RELAY}")
        return
    if installed:
        text = f"{installed} is installed; a rule that names a helper loads it"
        yield Finding(Level.OK, "module", text)
        return
    others = sorted({path.name for path in (root / "lib/modules").glob("*")})
    others = [other for other in others if installed_module(root, other)]
    if others:
        yield Finding(
            Level.TODO,
            "module",
            f"installed for {', '.join(others)}, but not for the kernel that runs, {release}",
            "make -C kmod dkms-install     # builds it for each new kernel from now on",
        )
        return
    remedy = "apt-get install linux-headers-amd64\nmake -C kmod install" if wanted else ""
    text = f"ctinject is not installed for {release}; {_RELAY}"
    yield Finding(lacking, "module", text, remedy)


def check_conntrack(root: Path) -> Iterator[Finding]:
    """Every source and injector but TPROXY needs conntrack."""
    settings = root / "proc/sys/net/netfilter"
    most, count = _read(settings / "nf_conntrack_max"), _read(settings / "nf_conntrack_count")
    if most is None or count is None:
        text = "tracks nothing in this network namespace yet: a nat rule makes it begin"
        yield Finding(Level.NOTE, "conntrack", text)
        return
    full = int(count) * 10 > int(most) * 9 > 0
    yield Finding(
        Level.TODO if full else Level.OK,
        "conntrack",
        f"{count} of {most} entries are in use",
        f"sysctl -w net.netfilter.nf_conntrack_max={2 * int(most)}" if full else "",
    )
    if module_version(root) is None:
        return
    if _read(settings / "nf_conntrack_checksum") == "0":
        yield Finding(
            Level.TODO,
            "conntrack",
            "checksums are not verified: the module would believe a damaged packet",
            "sysctl -w net.netfilter.nf_conntrack_checksum=1",
        )
    if _read(settings / "nf_conntrack_tcp_be_liberal") == "1":
        yield Finding(
            Level.NOTE,
            "conntrack",
            "nf_conntrack_tcp_be_liberal is on: the module does not need it, and packets outside "
            "of the window pass",
        )


@dataclass(frozen=True)
class Keys:
    """`signed`: headers have a signature; None: not known, or there is no module."""

    findings: tuple[Finding, ...] = ()
    signed: bool | None = None


def check_keys(root: Path) -> Keys:
    """Reads /proc/net/ctinject_keys, which lists the ids of keys."""
    path = root / "proc/net/ctinject_keys"
    try:
        text = _read(path)
    except PermissionError:
        return Keys((Finding(Level.NOTE, "keys", "only root can see whether there are any"),))
    if text is None:
        return Keys()
    if not text:
        said = "none: headers are not signed, and only a guard makes them trustworthy"
        return Keys((Finding(Level.NOTE, "keys", said),), signed=False)
    ids = text.split()
    also = f"; also known: {', '.join(ids[1:])}" if ids[1:] else ""
    said = f"headers are signed with key {ids[0]}{also}"
    return Keys((Finding(Level.OK, "keys", said),), signed=True)


def check_legacy(root: Path) -> Iterator[Finding]:
    """Tables of iptables-legacy, which nft does not list. Only root sees whether there are any."""
    for name in ("ip", "ip6"):
        try:
            tables = (_read(root / f"proc/net/{name}_tables_names") or "").split()
        except PermissionError:
            return
        if tables:
            text = f"{name}tables-legacy has tables ({' '.join(tables)}) that are not read here"
            yield Finding(Level.NOTE, "rules", text)


def check_counters(root: Path) -> Iterator[Finding]:
    """Reads /proc/net/ctinject: what was written, and a hint for each reason of dropped packets."""
    text = _read(root / "proc/net/ctinject")
    if text is None:
        return
    counters = {name: int(number) for name, number in map(str.split, text.splitlines())}
    written = ("flows", "ctproxy_headers", "ctframe_frames", "udp_ctproxy", "udp_ctframe")
    said = ", ".join(f"{name} {counters[name]}" for name in written if name in counters)
    yield Finding(Level.OK, "counters", said)
    loose = _read(root / "proc/sys/net/netfilter/nf_conntrack_tcp_loose")
    for name, number in counters.items():
        if not number:
            continue
        if name.startswith("drop_"):
            hint = HINTS.get(name.removeprefix("drop_"), "see kmod/README.md")
            if name == "drop_no_syn" and loose not in (None, "0"):
                hint += " (nf_conntrack_tcp_loose is on: conntrack picks them up)"
            yield Finding(Level.NOTE, "counters", f"{name} {number}: {hint}")
        elif name == "replies_elsewhere":
            yield Finding(Level.NOTE, "counters", f"{name} {number}: {_ELSEWHERE}")

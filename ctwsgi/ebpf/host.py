# SPDX-License-Identifier: MIT
"""Whether this host and a device can have the eBPF injector, and where its maps are pinned.

find_device() and the require functions raise an InjectorError that says what is missing and what to
do.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .errors import InjectorError

OBJECT = Path(__file__).with_name("ctproxy.bpf.o")

BPFFS = Path("/sys/fs/bpf")
_BPF_FS_MAGIC = 0xCAFE4A11

BUILD_PACKAGES = "clang llvm libbpf-dev make libbpf1"
"""Debian's packages that build the program, and the library that loads it."""

OLDEST_KERNEL = (6, 1)

_LINK_HEADER = {"ether": 14, "none": 0, "[65534]": 0}
"""Bytes before the IP header by the link type that `ip link` shows: `ether` for Ethernet, VLAN,
veth and bridge, the others for tun and WireGuard.
"""

MTU_MIN = 576
"""A header segment with all options fits."""

_CAP_NET_ADMIN, _CAP_SYS_ADMIN, _CAP_PERFMON, _CAP_BPF = 12, 21, 38, 39  # linux/capability.h
_NEEDED = {_CAP_NET_ADMIN: "CAP_NET_ADMIN", _CAP_PERFMON: "CAP_PERFMON", _CAP_BPF: "CAP_BPF"}


@dataclass(frozen=True)
class Device:
    """A device that the program can be attached to. `link_header`: bytes before the IP header."""

    name: str
    index: int
    link_header: int


def find_device(name: str) -> Device:
    """Find the device in this network namespace. InjectorError when it is not supported."""
    try:
        index = socket.if_nametoindex(name)
    except OSError:
        raise InjectorError(
            f"no device {name!r} in this network namespace: see `ip link`"
        ) from None
    # Not from /sys, which may show the devices of another network namespace.
    output = _output("ip", "-o", "link", "show", "dev", name)
    kind, mtu, master = (_word(pattern, output) for pattern in ("link/", "mtu ", "master "))
    if kind == "loopback":
        raise InjectorError(
            f"{name}: a server on this host needs no eBPF injector: use --source conntrack, or the "
            "kernel module"
        )
    if kind not in _LINK_HEADER:
        raise InjectorError(
            f"{name}: devices of type {kind} are not supported: use the kernel module"
        )
    if master:
        raise InjectorError(
            f"{name}: is a port of {master}, by which packets are routed: attach to {master}"
        )
    if int(mtu) < MTU_MIN:
        raise InjectorError(f"{name}: the MTU is {mtu}, less than {MTU_MIN}")
    return Device(name, index, _LINK_HEADER[kind])


def _word(before: str, text: str) -> str:
    found = re.search(rf" {before}(\S+)", text)
    return found[1] if found else ""


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        raise InjectorError(f"`{' '.join(command)}` fails: apt-get install iproute2") from None


def require_object() -> Path:
    """The program's file."""
    if not OBJECT.exists():
        raise InjectorError(
            "ctwsgi was installed without the eBPF program. In ctwsgi's source folder: "
            f"apt-get install {BUILD_PACKAGES} && {sys.executable} -m pip install "
            "--force-reinstall --no-deps ."
        )
    return OBJECT


def require_rights() -> None:
    """InjectorError unless this process has the capabilities."""
    status = Path("/proc/self/status").read_text()
    held = int(re.search(r"^CapEff:\s*(\w+)", status, re.M)[1], 16)  # type: ignore[index]
    if held >> _CAP_SYS_ADMIN & 1 and held >> _CAP_NET_ADMIN & 1:
        return  # CAP_SYS_ADMIN includes the other two
    lacking = [name for bit, name in _NEEDED.items() if not held >> bit & 1]
    if lacking:
        raise InjectorError(f"not allowed: needs {', '.join(lacking)}; run it as root")


def kernel_refusal(release: str, root: Path = Path("/")) -> str:
    """Why this kernel cannot run the program; empty when it can.

    `root` is a file system's root, / for this host.
    """
    numbers = tuple(map(int, re.findall(r"\d+", release)[:2]))
    if numbers < OLDEST_KERNEL:
        oldest = ".".join(map(str, OLDEST_KERNEL))
        return f"Linux {release} is too old, {oldest} is needed: use the relay"
    if not (root / "sys/kernel/btf/vmlinux").exists():
        return (
            "the kernel has no type information: it must be built with CONFIG_DEBUG_INFO_BTF=y, "
            "as distributions' kernels are"
        )
    if is_realtime(root):
        return (
            "the kernel is a real-time one (PREEMPT_RT): it can run the program twice at once on a "
            "processor, and the two would share their memory: use the kernel module or the relay"
        )
    with contextlib.suppress(OSError):
        if "[confidentiality]" in (root / "sys/kernel/security/lockdown").read_text():
            return "the kernel is locked down (confidentiality): use the relay"
    return ""


def is_realtime(root: Path = Path("/")) -> bool:
    """Whether the kernel is PREEMPT_RT. `root` is a file system's root, / for this host."""
    for name, sign in (("sys/kernel/realtime", "1"), ("proc/version", "PREEMPT_RT")):
        with contextlib.suppress(OSError):
            if sign in (root / name).read_text():
                return True
    return False


def require_kernel() -> None:
    """InjectorError unless the kernel can run the program. Loads conntrack if necessary."""
    if refusal := kernel_refusal(os.uname().release):
        raise InjectorError(refusal)
    if not Path("/proc/sys/net/netfilter/nf_conntrack_max").exists():
        _run("modprobe", "--quiet", "nf_conntrack")
    if not Path("/proc/sys/net/netfilter").exists():
        raise InjectorError(
            "the kernel has no conntrack (CONFIG_NF_CONNTRACK): modprobe nf_conntrack"
        )


def require_bpffs() -> None:
    """Mounts the bpf file system, in which maps are pinned, unless it is there."""
    path = BPFFS
    if _is_bpffs(path):
        return
    if _in_own_mount_namespace():
        raise InjectorError(
            f"{path} is not mounted in this mount namespace, and pins in it would vanish with it: "
            "use `nsenter --net=/run/netns/NAME` instead of `ip netns exec NAME`"
        )
    if not path.is_dir() or not _run("mount", "-t", "bpf", "bpf", str(path)):
        raise InjectorError(f"{path} is not mounted: mount -t bpf bpf {path}")


def pins(device_index: int, bpffs: Path = BPFFS) -> Path:
    """The folder in which the maps of a device of this network namespace are pinned."""
    namespace = os.stat("/proc/thread-self/ns/net").st_ino
    return bpffs / "ctwsgi" / str(namespace) / str(device_index)


def pinned_devices(root: Path = Path("/")) -> list[int]:
    """Indexes of this network namespace's devices that have pinned maps. Only root sees them.

    `root` is a file system's root, / for this host.
    """
    folder = pins(0, root / BPFFS.relative_to("/")).parent
    with contextlib.suppress(OSError):
        return [int(path.name) for path in folder.iterdir()]
    return []


def _in_own_mount_namespace() -> bool:
    """Whether this process is in another mount namespace than init, as below `ip netns exec`."""
    try:
        return os.stat("/proc/self/ns/mnt").st_ino != os.stat("/proc/1/ns/mnt").st_ino
    except OSError:
        return False


def tc_filters(device: str) -> str:
    """The device's filters as `tc` lists them; empty when there are none."""
    return "".join(
        _output("tc", "filter", "show", "dev", device, side) for side in ("ingress", "egress")
    ).strip()


def _is_bpffs(path: Path) -> bool:
    buffer = (ctypes.c_long * 32)()
    if ctypes.CDLL(None).statfs(os.fsencode(path), buffer):
        return False
    return buffer[0] == _BPF_FS_MAGIC


def _run(*command: str) -> bool:
    try:
        return not subprocess.run(command, capture_output=True).returncode
    except FileNotFoundError:
        return False

# SPDX-License-Identifier: MIT
"""What this host lacks for the eBPF injector, and which of its devices will do.

Each refusal is a GatewayError that says what to do.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .errors import GatewayError

OBJECT = Path(__file__).with_name("ctproxy.bpf.o")

BPFFS = Path("/sys/fs/bpf")
_BPF_FS_MAGIC = 0xCAFE4A11

OLDEST_KERNEL = (6, 1)

_LINK_HEADER = {"ether": 14, "none": 0, "[65534]": 0}
"""By the word that `ip link` has for a kind: Ethernet, VLAN, veth, bridge; tun and WireGuard."""

MTU_MIN = 576
"""A header segment with all of its options fits."""

_NEEDED = {12: "CAP_NET_ADMIN", 38: "CAP_PERFMON", 39: "CAP_BPF"}
_SYS_ADMIN = 21


@dataclass(frozen=True)
class Device:
    """A device that will do. `link_header` is the number of bytes before the IP header."""

    name: str
    index: int
    link_header: int


def find_device(name: str) -> Device:
    """The device of that name in this network namespace."""
    try:
        index = socket.if_nametoindex(name)
    except OSError:
        raise GatewayError(f"no device {name!r} in this network namespace: see `ip link`") from None
    # Not from /sys, which shows the namespace that mounted it.
    said = _output("ip", "-o", "link", "show", "dev", name)
    kind, mtu, master = (_word(pattern, said) for pattern in ("link/", "mtu ", "master "))
    if kind == "loopback":
        raise GatewayError(
            f"{name}: a server on this host needs no injector on a wire: use --source conntrack, "
            "or the kernel module"
        )
    if kind not in _LINK_HEADER:
        raise GatewayError(
            f"{name}: a device of kind {kind}, which was never tried: use the kernel module"
        )
    if master:
        raise GatewayError(
            f"{name}: belongs to {master}, by which the packets are routed: attach to {master}"
        )
    if int(mtu) < MTU_MIN:
        raise GatewayError(f"{name}: the MTU is {mtu}, less than {MTU_MIN}")
    return Device(name, index, _LINK_HEADER[kind])


def _word(before: str, text: str) -> str:
    found = re.search(rf" {before}(\S+)", text)
    return found[1] if found else ""


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        raise GatewayError(f"`{' '.join(command)}` fails: apt-get install iproute2") from None


def require_object() -> Path:
    """The program's file."""
    if not OBJECT.exists():
        raise GatewayError(
            "this installation is without the eBPF program: install a wheel from `make wheel`, or "
            "in the source: apt-get install clang llvm libbpf-dev; make -C kmod/bpf"
        )
    return OBJECT


def require_rights() -> None:
    """Root's, or what of them is needed."""
    status = Path("/proc/self/status").read_text()
    held = int(re.search(r"^CapEff:\s*(\w+)", status, re.M)[1], 16)  # type: ignore[index]
    if held >> _SYS_ADMIN & 1 and held >> 12 & 1:
        return
    lacking = [name for bit, name in _NEEDED.items() if not held >> bit & 1]
    if lacking:
        raise GatewayError(f"not allowed: needs {', '.join(lacking)}; run it as root")


def kernel_refusal(release: str, root: Path = Path("/")) -> str:
    """Why this kernel will never do, empty when it may. `root` is / but in tests."""
    numbers = tuple(map(int, re.findall(r"\d+", release)[:2]))
    if numbers < OLDEST_KERNEL:
        oldest = ".".join(map(str, OLDEST_KERNEL))
        return f"Linux {release} is too old, {oldest} is needed: use the relay"
    if not (root / "sys/kernel/btf/vmlinux").exists():
        return (
            "the kernel does not describe its types: it needs CONFIG_DEBUG_INFO_BTF=y, as "
            "distributions' kernels have"
        )
    with contextlib.suppress(OSError):
        if "[confidentiality]" in (root / "sys/kernel/security/lockdown").read_text():
            return "the kernel is locked down (confidentiality): use the relay"
    return ""


def require_kernel() -> None:
    """New enough, with BTF, and with conntrack, which is loaded if it has to be."""
    if refusal := kernel_refusal(os.uname().release):
        raise GatewayError(refusal)
    if not Path("/proc/sys/net/netfilter/nf_conntrack_max").exists():
        _run("modprobe", "--quiet", "nf_conntrack")
    if not Path("/proc/sys/net/netfilter").exists():
        raise GatewayError(
            "the kernel tracks no connections (CONFIG_NF_CONNTRACK): modprobe nf_conntrack"
        )


def require_bpffs(path: Path = BPFFS) -> Path:
    """Where maps are pinned, mounted now if it is not yet."""
    if _is_bpffs(path):
        return path
    if _in_passing_mount_namespace():
        raise GatewayError(
            f"{path} is not mounted in this mount namespace, and what was pinned there would go "
            "with it: instead of `ip netns exec NAME` use `nsenter --net=/run/netns/NAME`"
        )
    if not path.is_dir() or not _run("mount", "-t", "bpf", "bpf", str(path)):
        raise GatewayError(f"{path} is not mounted: mount -t bpf bpf {path}")
    return path


def pins(device_index: int, bpffs: Path = BPFFS) -> Path:
    """Where the maps of a device of this network namespace are pinned."""
    namespace = os.stat("/proc/thread-self/ns/net").st_ino
    return bpffs / "ctwsgi" / str(namespace) / str(device_index)


def pinned_devices(root: Path = Path("/")) -> list[int]:
    """Indexes of this namespace's devices that have maps; only root sees them."""
    folder = pins(0, root / BPFFS.relative_to("/")).parent
    with contextlib.suppress(OSError):
        return [int(path.name) for path in folder.iterdir()]
    return []


def _in_passing_mount_namespace() -> bool:
    """As far as one may know: `ip netns exec` makes one, that ends with its command."""
    try:
        return os.stat("/proc/self/ns/mnt").st_ino != os.stat("/proc/1/ns/mnt").st_ino
    except OSError:
        return False


def tc_filters(device: str) -> str:
    """What `tc` lists of a device's filters; empty when there are none."""
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

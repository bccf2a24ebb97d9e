# SPDX-License-Identifier: MIT
"""What the lab needs from the machine, and the one line that names what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess

PACKAGES = {
    "ip": "iproute2",
    "nft": "nftables",
    "curl": "curl",
    "unshare": "util-linux",
    "nsenter": "util-linux",
}
"""Tool to the Debian package that has it."""

SEARCH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
"""PATH, and where Debian keeps ip and nft, which an ordinary user's PATH leaves out."""

_CAP_NET_ADMIN, _CAP_SYS_ADMIN = 12, 21  # linux/capability.h


class LabError(Exception):
    """The lab cannot be built, or left something behind. The text is one line for people."""


def missing_tools(search: str = SEARCH) -> str | None:
    """One line that names the tools not found and how to get them, or None."""
    tools = [tool for tool in PACKAGES if not shutil.which(tool, path=search)]
    if not tools:
        return None
    packages = " ".join(sorted({PACKAGES[tool] for tool in tools}))
    return f"the lab needs {', '.join(tools)}: apt-get install {packages}"


def privileged() -> bool:
    """Whether this process may make namespaces as it is. Root in a container often may not."""
    with open("/proc/self/status") as status:
        held = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
    return all(held >> capability & 1 for capability in (_CAP_NET_ADMIN, _CAP_SYS_ADMIN))


def unshare_command() -> list[str]:
    """`unshare` into namespaces of our own: as root directly, else as root of a user namespace."""
    user = [] if privileged() else ["--map-root-user"]
    return ["unshare", *user, "--mount", "--net", "--"]


def unavailable() -> str | None:
    """Why no lab can be built here, in one line, or None. For pytest's skipif."""
    lacks = missing_tools()
    if lacks:
        return lacks
    environ = {**os.environ, "PATH": SEARCH}
    probe = subprocess.run(
        [*unshare_command(), "mount", "-t", "tmpfs", "lab", "/run"],
        env=environ, capture_output=True, text=True,
    )  # fmt: skip
    if probe.returncode:
        who = "root here" if privileged() else "not root, and without user namespaces"
        return f"the lab cannot make namespaces ({who}): {probe.stderr.strip()}"
    return None

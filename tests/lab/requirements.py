# SPDX-License-Identifier: MIT
"""What the lab needs from the machine, and one line that says what is missing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

PACKAGES = {
    "ip": "iproute2",
    "nft": "nftables",
    "curl": "curl",
    "unshare": "util-linux",
    "nsenter": "util-linux",
}
"""The Debian package of each tool."""

_CAP_NET_ADMIN, _CAP_SYS_ADMIN = 12, 21  # linux/capability.h


class LabError(Exception):
    """The lab cannot be built, or something of it is left. The text is one line for people."""


def missing_tools(search: str | None = None) -> str | None:
    """One line that names the tools not in `search`, or in PATH, and how to get them, or None."""
    tools = [tool for tool in PACKAGES if not shutil.which(tool, path=search)]
    if not tools:
        return None
    packages = " ".join(sorted({PACKAGES[tool] for tool in tools}))
    return f"the lab needs {', '.join(tools)}: apt-get install {packages}"


def privileged() -> bool:
    """Whether this process may make namespaces. Root in a container often may not."""
    with open("/proc/self/status") as status:
        held = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
    return all(held >> capability & 1 for capability in (_CAP_NET_ADMIN, _CAP_SYS_ADMIN))


def unshare_command() -> list[str]:
    """`unshare` into new namespaces; without root, also into a user namespace as its root."""
    user = [] if privileged() else ["--map-root-user"]
    return ["unshare", *user, "--mount", "--net", "--"]


def why_no_namespaces(said: str) -> str:
    """One line: `said`, the message of the command that failed, and what to type against it."""
    cause = said.strip().rpartition("\n")[2]
    if privileged():
        return f"the lab cannot make namespaces, even with root's rights: {cause}"
    for name, forbidding, allowing in _SWITCHES:
        if _sysctl(name) == forbidding:
            switch = f"sysctl -w {name}={allowing}"
            return (
                f"the lab needs root or user namespaces, and {name} is {forbidding}: "
                f"as root, type `{switch}`; or run this as root"
            )
    return (
        f"the lab needs root or user namespaces, and cannot make one ({cause}): run this as root, "
        "in a container with CAP_SYS_ADMIN and CAP_NET_ADMIN"
    )


_SWITCHES = (
    ("kernel.unprivileged_userns_clone", "0", "1"),  # Debian's
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),  # Ubuntu's
    ("user.max_user_namespaces", "0", "10000"),
)
"""Kernel parameters: the value that forbids user namespaces, and one that allows them."""


def _sysctl(name: str) -> str | None:
    try:
        return Path("/proc/sys", name.replace(".", "/")).read_text().strip()
    except OSError:
        return None


def unavailable() -> str | None:
    """Why no lab can be built here, in one line, or None. For pytest's skipif."""
    lacks = missing_tools()
    if lacks:
        return lacks
    command = [*unshare_command(), "mount", "-t", "tmpfs", "lab", "/run"]
    probe = subprocess.run(command, capture_output=True, text=True)
    return why_no_namespaces(probe.stderr) if probe.returncode else None

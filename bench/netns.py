# SPDX-License-Identifier: MIT
"""A network namespace with a redirect rule, for the sources `conntrack` and `tproxy`.

They learn an origin only from a real redirect. The client dials DIALLED, on loopback, and nft
redirects the connection to the server's port. A process that reads a pipe of this one holds the
namespace, so that it ends with this process in any case.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

DIALLED = ("127.0.0.9", 8000)
"""The address that the client dials. Nothing listens there."""

NAT = """
table ip bench {{
    chain out {{
        type nat hook output priority -100
        ip daddr {host} tcp dport {port} redirect to :{listener}
    }}
}}
"""

# Packets to loopback pass prerouting, so TPROXY needs no routing rule here.
TPROXY = """
table ip bench {{
    chain pre {{
        type filter hook prerouting priority -150
        ip daddr {host} tcp dport {port} tproxy to 127.0.0.1:{listener}
    }}
}}
"""

RULES = {"conntrack": NAT, "tproxy": TPROXY}


class NamespaceError(Exception):
    """The namespace or its rule could not be made; the text says why."""


class Namespace:
    """A namespace that redirects DIALLED to port `listener`, as `source` needs it."""

    def __init__(self, source: str, listener: int) -> None:
        reason = unavailable()
        if reason:
            raise NamespaceError(reason)
        rules = RULES[source].format(host=DIALLED[0], port=DIALLED[1], listener=listener)
        script = 'ip link set lo up && nft "$1" && echo ready && read -r _'
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", script, "sh", rules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._holder.stdout
        said = self._holder.stdout.readline()
        if said != "ready\n":
            said += self._holder.communicate()[0]
            raise NamespaceError(f"{source}: {' '.join(said.split())}")

    def entering(self, command: Sequence[str]) -> list[str]:
        """A command that runs `command` in the namespace, with the process id that Popen
        returns."""
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", *command]

    def close(self) -> None:
        self._holder.communicate()


def unavailable() -> str | None:
    """Why a namespace cannot be made on this machine, or None."""
    if os.geteuid() != 0:
        return "needs root, for a network namespace with an nft rule"
    missing = [tool for tool in ("unshare", "nsenter", "ip", "nft") if not shutil.which(tool)]
    return f"needs {', '.join(missing)}" if missing else None

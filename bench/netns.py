# SPDX-License-Identifier: MIT
"""A network namespace with one packet filter rule in it, for the sources that ask the kernel.

`conntrack` and `tproxy` learn an origin only from a real redirect. The client dials DIALLED, still
on loopback; nft hands the connection to the server's port. The namespace is held by a process that
reads our pipe: it goes away with us, however we end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

DIALLED = ("127.0.0.9", 8000)
"""Where the client goes: nobody listens there."""

NAT = """
table ip bench {{
    chain out {{
        type nat hook output priority -100
        ip daddr {host} tcp dport {port} redirect to :{listener}
    }}
}}
"""

# A packet for loopback passes prerouting by itself: no routing rule is needed to bring it there.
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
    """No namespace, or no rule in it; the text says why."""


class Namespace:
    """Loopback and the redirect of `source` ("conntrack" or "tproxy") to port `listener`."""

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

    def inside(self, command: Sequence[str]) -> list[str]:
        """`command`, to be run in the namespace under the pid that Popen returns."""
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", *command]

    def close(self) -> None:
        self._holder.communicate()


def unavailable() -> str | None:
    """Why no namespace can be made here, or None."""
    if os.geteuid() != 0:
        return "needs root, for a network namespace with an nft rule"
    missing = [tool for tool in ("unshare", "nsenter", "ip", "nft") if not shutil.which(tool)]
    return f"needs {', '.join(missing)}" if missing else None

# SPDX-License-Identifier: MIT
"""The lab by hand: `python -m tests.lab [COMMAND...]` builds it and runs a shell beside its hosts.

In the shell, `ip netns exec client curl ...` runs curl on the client. The lab ends with the shell.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from .lab import Lab
from .requirements import LabError


def main(command: list[str]) -> int:
    with Lab() as lab:
        if not command:
            print(_introduction(lab))
            command = [os.environ.get("SHELL", "/bin/sh")]
        # The shell handles Ctrl-C. Not SIG_IGN, which the shell would inherit.
        signal.signal(signal.SIGINT, lambda *_: None)
        return subprocess.call([*lab.inside(), *command], env=lab.environ)


def _introduction(lab: Lab) -> str:
    lines = ["hosts, for `ip netns exec HOST COMMAND`:"]
    for host in lab.topology.hosts:
        for wire in lab.topology.wires:
            if host.name in (wire.left, wire.right):
                peer = wire.other(host.name)
                v4, v6 = (lab.topology.address(host.name, peer, version) for version in (4, 6))
                lines.append(f"  {host.name:8} {v4:10} {v6:14} on its wire to {peer}")
    lines.append(f"from another terminal: {' '.join(lab.inside())} COMMAND")
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except LabError as e:
        sys.exit(f"lab: {e}")

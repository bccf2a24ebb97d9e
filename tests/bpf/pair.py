# SPDX-License-Identifier: MIT
"""Two gateways with conntrackd, one of which is in use.

             ,-- one --.
    client --     |     -- server
             `-- two --'

Client and server have addresses that are not those of a wire, and each has a route by the gateway
in use. A failover changes these routes. With VRRP the gateway's address would move instead, which
makes no difference to conntrackd and the program.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from socket import socket as Socket
from typing import Any

from tests.lab import Lab, until
from tests.lab.node import Node
from tests.lab.rules import dnat
from tests.lab.topology import Host, Topology, Wire

TOPOLOGY = Topology(
    hosts=(
        Host("client"),
        Host("one", forwards=True),
        Host("two", forwards=True),
        Host("server"),
    ),
    wires=(
        Wire("client", "one"),
        Wire("client", "two"),
        Wire("one", "server"),
        Wire("two", "server"),
        Wire("one", "two"),
    ),
)
CLIENT, SERVER = "10.98.0.1", "10.99.0.1"

_CONFIG = """
Sync {{
  Mode {mode} {{
    DisableExternalCache {direct}
  }}
  UDP {{
    IPv4_address {own}
    IPv4_Destination_Address {peer}
    Port 3780
    Interface {device}
    Checksum on
  }}
}}
General {{
  HashSize 1024
  HashLimit 8192
  LogFile off
  Syslog off
  LockFile {file}.lock
  UNIX {{
    Path {file}.ctl
  }}
  NetlinkBufferSize 262144
  NetlinkBufferSizeMaxGrowth 1048576
  Filter From Userspace {{
    Protocol Accept {{
      TCP
    }}
  }}
}}
"""


def unavailable() -> str | None:
    """Why conntrackd cannot run here, in one line; None when it can."""
    lacking = [c for c in ("conntrackd", "conntrack") if not shutil.which(c)]
    return f"no {', '.join(lacking)}: apt-get install {' '.join(lacking)}" if lacking else None


class Pair:
    """The lab with two gateways. Connections of the client go by `one` until fail_over().

    With `direct` conntrackd writes entries into the standby's kernel at once, otherwise at the
    failover, as its primary-backup.sh does.
    """

    def __init__(self, mode: str, *, direct: bool, key: str) -> None:
        self._mode, self._direct, self._key = mode, direct, key
        self.lab = Lab(TOPOLOGY)

    def __enter__(self) -> Pair:
        self.lab.__enter__()
        try:
            self._set_up()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            for node in (self.lab.one, self.lab.two):
                self._gateway(node, "detach", "server", check=False)
        finally:
            self.lab.__exit__(*error)

    def listen(self, port: int) -> Socket:
        """A listener on the server, to which both gateways translate and inject."""
        for node in (self.lab.one, self.lab.two):
            node.nft(str(dnat((SERVER, port), ("fd99::1", port))))
            options = ["--existing", "pass", "--auth-key-file", str(self._keys())]
            self._gateway(node, "attach", "server", "--backend", f"{SERVER}:{port}", *options)
        return self.lab.server.listen(SERVER, port)

    def wait_until_known(self, sock: Socket) -> None:
        """Wait until the standby knows that this client's connection is established."""
        port = f"sport={sock.getsockname()[1]} "

        def known() -> bool:
            lines = self._known_to_standby().splitlines()
            return any(port in line and "ESTABLISHED" in line for line in lines)

        until(known, "conntrackd's message")

    def fail_over(self) -> None:
        """Cut `one` off, and let `two` take its place."""
        for host, device in (("client", "one"), ("server", "one")):
            getattr(self.lab, device).ip("link", "set", host, "down")
        self._use("two")
        if not self._direct:
            for order in ("-c", "-f", "-R", "-B"):
                self._conntrackd(self.lab.two, order)

    def counters(self, node: Node) -> dict[str, int]:
        """The counters of the node's program that are not zero."""
        (status,) = json.loads(self._gateway(node, "status", "server", "--json"))
        return {name: n for name, n in status["counters"].items() if n}

    def _set_up(self) -> None:
        lab = self.lab
        lab.client.ip("addr", "add", CLIENT, "dev", "lo")
        lab.server.ip("addr", "add", SERVER, "dev", "lo")
        self._use("one")
        for node, peer in ((lab.one, "two"), (lab.two, "one")):
            for end, address in (("client", CLIENT), ("server", SERVER)):
                node.ip("route", "add", address, "via", lab.topology.address(end, node.name))
            # A packet of a connection that conntrack does not know makes no new entry.
            node.sysctl({"net.netfilter.nf_conntrack_tcp_loose": 0})
            self._start_conntrackd(node, peer)

    def _use(self, gateway: str) -> None:
        for node, own in ((self.lab.client, CLIENT), (self.lab.server, SERVER)):
            via = self.lab.topology.address(gateway, node.name)
            node.ip("route", "replace", "default", "via", via, "src", own)

    def _start_conntrackd(self, node: Node, peer: str) -> None:
        address = self.lab.topology.address
        values = {
            "mode": self._mode,
            "direct": "on" if self._direct else "off",
            "own": address(node.name, peer),
            "peer": address(peer, node.name),
            "device": peer,
            "file": self._config(node),
        }
        self._config(node).write_text(_CONFIG.format(**values))
        process = node.popen(["conntrackd", "-C", str(self._config(node))])
        process.wait_log("initialization completed")

    def _known_to_standby(self) -> str:
        two = self.lab.two
        if self._direct:
            return two.run(["conntrack", "-L", "-p", "tcp"]).stdout
        return self._conntrackd(two, "-e")

    def _conntrackd(self, node: Node, order: str) -> str:
        return node.run(["conntrackd", "-C", str(self._config(node)), order]).stdout

    def _config(self, node: Node) -> Path:
        return self.lab.scratch / f"conntrackd-{node.name}.conf"

    def _keys(self) -> Path:
        keys = self.lab.scratch / "keys"
        keys.touch(mode=0o600)
        keys.write_text(self._key)
        return keys

    def _gateway(self, node: Node, *words: str, check: bool = True) -> str:
        return node.run([sys.executable, "-m", "ctwsgi", "gateway", *words], check=check).stdout

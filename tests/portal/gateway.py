# SPDX-License-Identifier: MIT
"""A gateway with its agent, two clients and an internet, for tests of the packet filter.

client ---- gateway ---- server     the server is the internet, with all NOWHERE addresses
other ------'
"""

from __future__ import annotations

import errno
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ctwsgi_portal.state import Store, open_store
from ctwsgi_portal.state.records import Grant, new_id

from tests.lab import Lab
from tests.lab.node import Node
from tests.lab.portal import INTERNET, TABLE, PortalLab, become_internet
from tests.lab.process import Process
from tests.lab.topology import Host, Topology, Wire
from tests.lab.wait import DEADLINE, until

STAFF = """
[[networks]]
name = "staff"
interfaces = ["other"]
addresses = ["10.77.2.0/24", "fd77:0:0:2::/64"]
"""

TWO_CLIENTS = Topology(
    hosts=(
        Host("client", default="gateway"),
        Host("other", default="gateway"),
        Host("gateway", forwards=True),
        Host("server", default="gateway"),
    ),
    wires=(Wire("client", "gateway"), Wire("other", "gateway"), Wire("gateway", "server")),
    nowhere="server",
)


SOON = 10.0
"""Seconds: more than the lifetime of every short grant here, and less than that of any other."""


class Gateway:
    """The lab, its store, and the agent as a process of the gateway."""

    def __init__(self, lab: Lab, store_url: str = "") -> None:
        self.lab = lab
        self.url = store_url or f"sqlite:{lab.scratch}/portal.db"
        self.store: Store = open_store(self.url)
        self.agent: Process
        self._agents: list[Process] = []
        self.client, self.other, self.gateway = lab.client, lab.other, lab.gateway
        become_internet(lab.server)

    def configure(self, gateway: str = "", **places: Any) -> None:
        """Writes the configuration. `gateway` are the lines of its section [gateway]."""
        self.portal = PortalLab(self.lab, store=self.url, networks=STAFF, gateway=gateway, **places)
        self.agent_command = self.portal.command("agent")

    def start(self) -> Process:
        """Starts an agent, and waits until it has taken its snapshot."""
        agent = self.gateway.popen(self.agent_command)
        self._agents.append(agent)
        agent.wait_log("sessions")
        return agent

    def grant(
        self, node: Node, version: int = 4, lifetime: float = 3600, **fields: object
    ) -> Grant:
        """Grants as a portal does, and does not wait for the agent."""
        now = time.time()
        made = Grant(
            id=new_id(),
            network="guests" if node is self.client else "staff",
            address=str(fields.pop("address", "")) or node.address(version),
            mac=None,
            granted_at=now,
            expires_at=now + lifetime,
            limit_bytes=fields.pop("limit_bytes", None),  # type: ignore[arg-type]
            method="click",
            voucher=str(fields.pop("voucher", "")),
        )
        self.store.grant(made)
        return made

    def elements(self, name: str) -> set[str]:
        """The keys in one of the portal's sets."""
        return set(self._listed(name))

    def ends_soon(self, name: str) -> bool:
        """Whether the set has elements, and all of them end within SOON."""
        found = self._listed(name).values()
        return bool(found) and max(found) < SOON

    def _listed(self, name: str) -> dict[str, float]:
        """The elements of a set, with the seconds until they end."""
        listing = self.gateway.run(["nft", "-j", "list", "set", "inet", TABLE, name], check=False)
        if listing.returncode:
            return {}
        entries = [e["set"] for e in json.loads(listing.stdout)["nftables"] if "set" in e]
        elements = [e for entry in entries for e in entry.get("elem", [])]
        timed = [e["elem"] if isinstance(e, dict) else {"val": e} for e in elements]
        return {e["val"]: float(e.get("expires", "inf")) for e in timed}

    def flows(self, address: str) -> set[str]:
        """The ids of this client's flows to port 7 in conntrack."""
        family = "ipv6" if ":" in address else "ipv4"
        command = ["conntrack", "-L", "-o", "id", "-f", family, "-s", address]
        told = self.gateway.run(command, check=False).stdout
        return {line.split("id=")[1] for line in told.splitlines() if "dport=7 " in line}

    def close(self) -> None:
        """Kills the agents: their orderly end takes a second, and the lab goes away anyway."""
        for agent in self._agents:
            if agent.returncode is None:
                agent.signal(signal.SIGKILL)
        self.store.close()


@contextmanager
def gateway(lines: str = "", **options: Any) -> Iterator[Gateway]:
    """A lab with a running agent."""
    with Lab(TWO_CLIENTS) as lab:
        made = Gateway(lab)
        made.configure(lines, **options)
        try:
            made.agent = made.start()
            yield made
        finally:
            made.close()


def passes(node: Node, version: int = 4, port: int = 443) -> bool:
    """Whether a connection to the internet works both ways."""
    said = b"there and back"
    end = time.monotonic() + DEADLINE
    try:
        with node.connect((INTERNET[version], port), deadline=DEADLINE) as sock:
            sock.settimeout(0.5)
            while time.monotonic() < end:
                # Again, because the filter may have changed since the connection began: it drops
                # answers without a word, and resets the client when that sends something.
                sock.sendall(said)
                with suppress(TimeoutError):
                    return sock.recv(100).startswith(said)
    except (ConnectionRefusedError, ConnectionResetError, BrokenPipeError):
        return False
    raise TimeoutError("neither an answer nor a reset")


def datagram(node: Node, port: int, version: int = 4) -> str:
    """`answered`, `refused` (an ICMP error came at once) or `silence`."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with node.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(DEADLINE)
        sock.connect((INTERNET[version], port))
        sock.send(b"ping")
        try:
            return "answered" if sock.recv(100) == b"ping" else "garbled"
        except TimeoutError:
            return "silence"
        except OSError as e:
            return "refused" if e.errno in (errno.ECONNREFUSED, errno.EACCES) else str(e)


def in_time(event: Callable[[], object], what: str) -> None:
    """Waits for something that the agent has to do."""
    until(event, what)

# SPDX-License-Identifier: MIT
"""Three gateways in namespaces, each with its agent, and one Redis, for `bench.portal`.

The first gateway has the clients as neighbours. It reports their MACs, and all three follow the
reports.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import psutil
import redis
from ctwsgi_portal.state import Store, open_store
from ctwsgi_portal.state.records import Grant, new_id

from tests import ROOT
from tests.lab import Lab
from tests.lab.portal import TABLE, PortalLab
from tests.lab.process import Process
from tests.lab.topology import Host, Topology, Wire
from tests.lab.wait import until

GATEWAYS = ("gateway1", "gateway2", "gateway3")
FLEET = Topology(
    hosts=(*(Host(name, forwards=True) for name in GATEWAYS), Host("client"), Host("gateway")),
    wires=(Wire("client", "gateway"), *(Wire("client", name) for name in GATEWAYS)),
)
"""`gateway` exists because the lab's configuration takes the portal's address from it."""

_FIRST = int(IPv4Address("10.96.0.0"))
_WIDE = """
[[networks]]
name = "wide"
interfaces = ["client"]
addresses = ["10.96.0.0/12"]
"""
_AGENT_DEADLINE = 300.0


def address(number: int) -> str:
    """The address of client `number`, from 0 to a million."""
    return str(IPv4Address(_FIRST + 1 + number))


class Observer:
    """Notes the time at which each address came into a gateway's set back4 (observer.py)."""

    def __init__(self, lab: Lab, gateway: str) -> None:
        self._process = _listen(lab, gateway, "bench.portal.observer")

    def seen(self) -> dict[str, float]:
        """Seconds of the monotonic clock by address."""
        lines = [line.split() for line in self._process.log().splitlines()[1:]]
        found: dict[str, float] = {}
        for address_, at in (line for line in lines if len(line) == 2):
            found.setdefault(address_, float(at))
        return found

    def stop(self) -> None:
        self._process.stop()


class Tables:
    """Notes the times at which a gateway's table went and came back (tables.py)."""

    def __init__(self, lab: Lab, gateway: str) -> None:
        self._process = _listen(lab, gateway, "bench.portal.tables")

    def seen(self) -> tuple[float, float] | None:
        """Both times in seconds of the monotonic clock; None until both have happened."""
        lines = [line.split() for line in self._process.log().splitlines()[1:]]
        first = {word: float(at) for word, at in reversed([x for x in lines if len(x) == 2])}
        return (first["gone"], first["back"]) if len(first) == 2 else None

    def stop(self) -> None:
        self._process.stop()


class Fleet:
    """The three gateways with the store and their agents."""

    def __init__(self, lab: Lab, redis_url: str) -> None:
        self.lab = lab
        self.store: Store = open_store(redis_url)
        self._redis_url = redis_url
        self._portals = {}
        for name in GATEWAYS:
            portal = PortalLab(lab, store=redis_url, networks=_WIDE)
            text = portal.config.read_text()
            # Each gateway needs a name of its own.
            own = lab.scratch / f"{name}.toml"
            own.write_text(text.replace('"gateway-1"', f'"{name}"'))
            portal.config = own
            self._portals[name] = portal
        self.agents: dict[str, Process] = {}

    def start(self, gateway: str) -> float:
        """Starts an agent. Returns the seconds until it follows the store."""
        began = time.monotonic()
        node = getattr(self.lab, gateway)
        self.agents[gateway] = node.popen(self._portals[gateway].command("agent"))
        self.agents[gateway].wait_log("sessions", deadline=_AGENT_DEADLINE)
        return time.monotonic() - began

    def neighbours(self, first: int, count: int) -> None:
        """Makes clients neighbours of the first gateway."""
        lines = (
            f"neigh replace {address(n)} lladdr {_mac(n)} nud permanent dev client\n"
            for n in range(first, first + count)
        )
        node = getattr(self.lab, GATEWAYS[0])
        node.run(["ip", "-batch", "-"], text_in="".join(lines), deadline=120)

    def grant(self, number: int, lifetime: float = 7200) -> str:
        """Grants as a portal does. Returns the address."""
        now = time.time()
        self.store.grant(
            Grant(
                id=new_id(),
                network="wide",
                address=address(number),
                mac=None,
                granted_at=now,
                expires_at=now + lifetime,
                limit_bytes=None,
                method="click",
            )
        )
        return address(number)

    def elements(self, gateway: str, name: str) -> int:
        """The number of elements in a set."""
        node = getattr(self.lab, gateway)
        listing = node.run(["nft", "-j", "list", "set", "inet", TABLE, name], deadline=120).stdout
        return sum(
            len(e["set"].get("elem", ())) for e in json.loads(listing)["nftables"] if "set" in e
        )

    def wait_elements(self, gateway: str, wanted: int) -> None:
        """Waits until back4 has this number of elements."""
        until(
            lambda: self.elements(gateway, "back4") == wanted,
            f"{wanted} elements in {gateway}",
            _AGENT_DEADLINE,
        )

    def observe(self) -> Iterator[Observer]:
        """Starts an observer for each gateway."""
        for name in GATEWAYS:
            yield Observer(self.lab, name)

    def processor(self, gateway: str) -> float:
        """Seconds of processor time of an agent and the tools that it has run."""
        times = psutil.Process(self.agents[gateway].pid).cpu_times()
        return float(sum(times[:4]))

    def redis_memory(self) -> float:
        """Megabytes in use by Redis."""
        with redis.Redis.from_url(self._redis_url) as client:
            return float(client.info("memory")["used_memory"]) / (1 << 20)

    def memory(self, gateway: str) -> float:
        """Resident megabytes of an agent."""
        status = Path(f"/proc/{self.agents[gateway].pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        return int(found[1]) / 1024 if found else 0.0


def _listen(lab: Lab, gateway: str, module: str) -> Process:
    """Runs a module that prints the kernel's announcements on a gateway."""
    command = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", module, TABLE]
    process: Process = getattr(lab, gateway).popen(command)
    process.wait_log("ready")
    return process


def _mac(number: int) -> str:
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x10, *number.to_bytes(4, "big")))

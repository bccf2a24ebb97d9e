"""The legs of the demo: each way that an origin reaches the server, and the check of a visit.

A leg is a row of LEGS. `Service` runs it: `ctwsgi serve demo_app:app` on the server and, where the
NAT is on the gateway, `ctwsgi relay` there.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .lab import Lab
from .node import Node
from .process import Process
from .rules import redirect, tproxy
from .topology import CLIENT_GATEWAY_SERVER, draw_destination, show

ROOT = Path(__file__).parents[2]

RELAY_PORT = 9000
"""A leg's relay listens here plus its place in LEGS; these are the lab's own ports."""
SERVER_PORT = 8000

_BEHIND_GATEWAY = ("--trust", CLIENT_GATEWAY_SERVER.address("gateway", "server"))
"""The relay connects from there, over IPv4 for clients of either version."""


@dataclass(frozen=True)
class Leg:
    """One row: what `ct.source` must be, how the packets get there, and the options for it."""

    source: str
    topology: str
    """dnat: to another host, by the relay on the gateway. redirect, tproxy: on the server's own."""
    verified: bool
    """What DESIGN section 4 demands `ct.verified` to be."""
    serve: tuple[str, ...] = ()
    relay: tuple[str, ...] = ()
    keyed: bool = False
    versions: tuple[int, ...] = (4, 6)

    @property
    def name(self) -> str:
        return f"{self.source} {self.topology}"


LEGS = (
    # Over IPv4 only: a frame has four bytes for the address.
    Leg("ctframe", "dnat", False, _BEHIND_GATEWAY, ("--format", "ctframe"), versions=(4,)),
    Leg("proxy", "dnat", False, _BEHIND_GATEWAY, ("--format", "proxy")),
    Leg("proxy", "dnat-signed", True, _BEHIND_GATEWAY, ("--format", "proxy"), keyed=True),
    Leg("conntrack", "redirect", True),
    Leg("tproxy", "tproxy", True),
)
SIGNED, LOCAL = LEGS[2], LEGS[3]


class Mismatch(Exception):
    """An answer that is not the one that the leg demands."""


class Service:
    """The processes of one leg, started; `ready` waits until they listen."""

    def __init__(self, lab: Lab, leg: Leg, key_file: Path) -> None:
        place = LEGS.index(leg)
        self.lab, self.leg = lab, leg
        self.port = SERVER_PORT + place
        keys = ("--auth-key-file", str(key_file)) if leg.keyed else ()
        binds = [word for version in (4, 6) for word in ("--bind", show(self.address(version)))]
        options = (*binds, "--source", leg.source, *leg.serve, *keys)
        self.server = self._start(lab.server, "serve", *options, "demo_app:app")
        self.relay = None
        if leg.relay:
            self._relay_port = RELAY_PORT + place
            upstream = ("--upstream", show(self.address(4)))
            listens = (
                "--listen",
                f"0.0.0.0:{self._relay_port}",
                "--listen",
                f"[::]:{self._relay_port}",
            )
            self.relay = self._start(lab.gateway, "relay", *listens, *upstream, *leg.relay, *keys)

    def address(self, version: int) -> tuple[str, int]:
        """The server's own listening address."""
        return self.lab.server.address(version), self.port

    def ready(self) -> None:
        """Waits; RuntimeError with the output of a process that ended instead."""
        self.server.wait_listening(self.port)
        if self.relay:
            self.relay.wait_listening(self._relay_port)

    @contextmanager
    def redirected(self) -> Iterator[None]:
        """Inside the `with`, packets to NOWHERE take this leg."""
        if self.relay:
            with self.lab.gateway.rules(redirect(self._relay_port)):
                yield
        elif self.leg.topology == "redirect":
            with self.lab.server.rules(redirect(self.port)):
                yield
        else:
            with self.lab.server.marked_delivery(), self.lab.server.rules(tproxy(self.port)):
                yield

    def visit(self, destination: tuple[str, int]) -> None:
        """The client's curl dials `destination`; Mismatch unless the answer is all true."""
        nonce = secrets.token_hex(16)
        version = 6 if ":" in destination[0] else 4
        answer = self._curl(destination, nonce)
        # A frame has no room for the source: there the relay is who connected.
        visitor = (
            self.lab.gateway.address(4, "server")
            if self.leg.source == "ctframe"
            else (self.lab.client.address(version))
        )
        wanted = {
            "orig_dst": list(destination),
            "source": self.leg.source,
            "verified": self.leg.verified,
            "nonce": nonce,
            "visitor": visitor,
        }
        got = {**answer, "visitor": (answer.get("orig_src") or [None])[0]}
        wrong = [f"{k} is {got.get(k)!r}, not {v!r}" for k, v in wanted.items() if got.get(k) != v]
        if wrong:
            raise Mismatch("; ".join(wrong))

    def _curl(self, destination: tuple[str, int], nonce: str) -> dict[str, Any]:
        done = self.lab.client.run([
            "curl", "--disable", "--silent", "--show-error", "--globoff",
            "--noproxy", "*", "--max-time", "20",
            "--header", "Accept: application/json",
            "--data", f"nonce={nonce}",
            f"http://{show(destination)}/",
        ])  # fmt: skip
        try:
            answer: dict[str, Any] = json.loads(done.stdout)
            return answer
        except ValueError:
            raise Mismatch(f"not JSON: {done.stdout[:200]!r}") from None

    def _start(self, node: Node, *words: str) -> Process:
        command = [sys.executable, "-m", "ctwsgi", *words]
        return node.popen(command, env={"PYTHONPATH": str(ROOT)})


def destinations(leg: Leg, visits: int) -> Iterator[tuple[str, int]]:
    """Fresh random ones: `visits` of each IP version that the leg can carry."""
    for version in leg.versions:
        for _ in range(visits):
            yield draw_destination(version)

# SPDX-License-Identifier: MIT
"""The legs of the demo: each way in which an origin reaches the server, and the check of a visit.

A leg is a row of LEGS, or of EBPF_LEGS and MODULE_LEGS, whose injectors need a kernel that takes
them. `Service` runs a leg: `ctwsgi serve tests.lab.greeting:app` on the server and, where the
injector is the relay, `ctwsgi relay` on the gateway.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import ROOT

from .ending import undisturbed
from .lab import Lab
from .node import Node
from .process import Process
from .rules import Table, dnat, guard, mark, redirect, tproxy
from .topology import CLIENT_GATEWAY_SERVER, draw_destination, show
from .wait import DEADLINE

RELAY_PORT = 9000
"""The relay of a leg listens at this port plus the leg's place in the list of all legs."""
SERVER_PORT = 8000

_BEHIND_GATEWAY = ("--trust", CLIENT_GATEWAY_SERVER.address("gateway", "server"))
"""The relay connects from this address, for IPv6 clients, too."""


@dataclass(frozen=True)
class Leg:
    """What `ct.source` must be, how the packets reach the server, and the commands' options."""

    source: str
    topology: str
    """dnat, gateway: relay, eBPF program or module on the gateway send them to the server.
    redirect, tproxy, local: the server's own rules take them, `local` with the module.
    """
    verified: bool
    """What `ct.verified` must be (docs/environ.md)."""
    serve: tuple[str, ...] = ()
    relay: tuple[str, ...] = ()
    helper: str = ""
    """The module's conntrack helper, where the module is the injector."""
    ebpf: bool = False
    """The injector is the eBPF program, on the gateway's device to the server."""
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

# The injector is in the path, and the client remains the TCP peer. The server believes a frame
# because of the guard, and a header because of its signature.
_GUARDED = ("--trust", "inline", "--guarded")
_INLINE = ("--trust", "inline")

EBPF_LEGS = (Leg("proxy", "ebpf-gateway-signed", True, _INLINE, ebpf=True, keyed=True),)

MODULE_LEGS = (
    Leg("ctframe", "module-gateway", False, _GUARDED, helper="ctframe", versions=(4,)),
    Leg("ctframe", "module-local", False, _GUARDED, helper="ctframe", versions=(4,)),
    Leg("proxy", "module-gateway-signed", True, _INLINE, helper="ctproxy", keyed=True),
    Leg("proxy", "module-local-signed", True, _INLINE, helper="ctproxy", keyed=True),
)


class Mismatch(Exception):
    """An answer differs from what the leg demands."""


class Service:
    """The started processes of one leg; `ready` waits until they listen."""

    def __init__(self, lab: Lab, leg: Leg, key_file: Path) -> None:
        place = (*LEGS, *EBPF_LEGS, *MODULE_LEGS).index(leg)
        self._key_file = key_file
        self.lab, self.leg = lab, leg
        self.port = SERVER_PORT + place
        keys = ("--auth-key-file", str(key_file)) if leg.keyed else ()
        binds = [word for version in (4, 6) for word in ("--bind", show(self.address(version)))]
        options = (*binds, "--source", leg.source, *leg.serve, *keys)
        self.server = self._start(lab.server, "serve", *options, "tests.lab.greeting:app")
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
        """The address at which the server listens."""
        return self.lab.server.address(version), self.port

    def ready(self) -> None:
        """Waits until all listen. RuntimeError, with its output, when a process ends instead."""
        self.server.wait_listening(self.port)
        if self.relay:
            self.relay.wait_listening(self._relay_port)

    @contextmanager
    def redirected(self) -> Iterator[None]:
        """Inside the `with`, packets to NOWHERE take this leg."""
        if self.relay:
            with self.lab.gateway.rules(redirect(self._relay_port)):
                yield
        elif self.leg.ebpf:
            with self._attached():
                yield
        elif self.leg.helper:
            with self._marked():
                yield
        elif self.leg.topology == "redirect":
            with self.lab.server.rules(redirect(self.port)):
                yield
        else:
            with self.lab.server.marked_delivery(), self.lab.server.rules(tproxy(self.port)):
                yield

    @contextmanager
    def _attached(self) -> Iterator[None]:
        """Inside the `with`, the gateway has the eBPF program and its rules."""
        gateway = self.lab.gateway
        command = [sys.executable, "-m", "ctwsgi", "gateway"]
        servers = [f"--backend={show(self.address(version))}" for version in (4, 6)]
        key = f"--auth-key-file={self._key_file}"
        try:
            with undisturbed():  # an attach that is killed half-way leaves pinned objects
                gateway.run([*command, "attach", "server", *servers, key])
            with (
                gateway.rules(dnat(self.address(4), self.address(6))),
                gateway.rules(guard(self.port, "forward")),
            ):
                yield
        finally:
            # The pinned objects outlive the lab.
            with undisturbed():
                gateway.run([*command, "detach", "server"])

    @contextmanager
    def _marked(self) -> Iterator[None]:
        """Inside the `with`, the gateway or the server has the module's rules."""
        local = "local" in self.leg.topology
        node = self.lab.server if local else self.lab.gateway
        translation = redirect(self.port) if local else dnat(self.address(4), self.address(6))
        hook = "input" if local else "forward"
        tables: tuple[Table, ...] = (
            mark(self.leg.helper, self.port),
            translation,
            guard(self.port, hook),
        )
        with ExitStack() as standing:
            for table in tables:
                standing.enter_context(node.rules(table))
            yield

    def visit(self, destination: tuple[str, int]) -> None:
        """The client's curl dials `destination`; Mismatch when anything in the answer is wrong."""
        nonce = secrets.token_hex(16)
        version = 6 if ":" in destination[0] else 4
        answer = self._curl(destination, nonce)
        # A frame does not carry the source: behind the relay, it is the relay's own address.
        visitor = (
            self.lab.gateway.address(4, "server")
            if self.relay and self.leg.source == "ctframe"
            else self.lab.client.address(version)
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
            "--noproxy", "*", "--max-time", str(DEADLINE),
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
    """Random destinations: `visits` of each IP version that the leg can carry."""
    for version in leg.versions:
        for _ in range(visits):
            yield draw_destination(version)

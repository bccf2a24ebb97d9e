# SPDX-License-Identifier: MIT
"""A lab with a gateway for the injector, and a server that reads its headers."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ctwsgi.origin import Address
from ctwsgi.wire import proxy
from ctwsgi.wire.auth import KeyRing
from ctwsgi.wire.header import Header
from tests.lab import Lab, Node, draw_destination
from tests.lab.rules import dnat

DEVICE = "server"
"""The gateway's device that leads to the server."""


def command(node: Node, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `ctwsgi gateway WORDS` on a node."""
    return node.run([sys.executable, "-m", "ctwsgi", "gateway", *words], check=check)


class Gateway:
    """The lab. `with Gateway() as gateway` does not attach the program."""

    def __enter__(self) -> Gateway:
        self.lab = Lab()
        self.lab.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            self.command("detach", DEVICE, check=False)
        finally:
            self.lab.__exit__(*error)

    def command(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `ctwsgi gateway WORDS` on the gateway."""
        return command(self.lab.gateway, *words, check=check)

    def remove(self, *sides: str) -> None:
        """Remove the program's filters of these sides, `ingress` and `egress`, as others may.

        `clsact` removes the qdisc with both.
        """
        for side in sides:
            what = ["qdisc", "del"] if side == "clsact" else ["filter", "del"]
            which = [side] if side == "clsact" else [side, "prio", "7799"]
            self.lab.gateway.run(["tc", *what, "dev", DEVICE, *which])

    def hold_back(self, phase: str, port: int) -> None:
        """Keep connections to this port of the server half-open.

        `open`: the header is dropped, so the server waits for it, and the client for the server.
        `syn`: the SYN-ACK is dropped.
        """
        node, rule = {
            "open": (self.lab.server, f"tcp dport {port} tcp flags & psh == psh drop"),
            "syn": (
                self.lab.client,
                f"tcp sport != {port} tcp flags & (syn | ack) == (syn | ack) drop",
            ),
        }[phase]
        node.nft(
            "table inet held {\n chain pre {\n type filter hook prerouting priority -300;\n"
            f" {rule}\n }}\n}}\n"
        )

    def status(self) -> dict[str, Any]:
        """The status of DEVICE."""
        found: dict[str, Any] = json.loads(self.command("status", DEVICE, "--json").stdout)[0]
        return found

    def counters(self) -> dict[str, int]:
        """The counters of DEVICE that are not zero."""
        return {name: n for name, n in self.status()["counters"].items() if n}

    def backends(self, port: int) -> list[str]:
        """The options that select this port of the server."""
        v4, v6 = (self.lab.server.address(version) for version in (4, 6))
        return ["--backend", f"{v4}:{port}", "--backend", f"[{v6}]:{port}"]

    @contextmanager
    def listening(self, version: int = 4) -> Iterator[socket.socket]:
        """A listener on the server. The gateway translates addresses that no host has to it."""
        with self.lab.server.listen("0.0.0.0" if version == 4 else "::") as listener:
            port = listener.getsockname()[1]
            targets = ((self.lab.server.address(v), port) for v in (4, 6))
            with self.lab.gateway.rules(dnat(*targets)):
                yield listener

    @contextmanager
    def listeners(self, port: int) -> Iterator[dict[int, socket.socket]]:
        """Listeners on the server by IP version, without rules that translate to them."""
        server = self.lab.server
        with server.listen("0.0.0.0", port) as v4, server.socket(socket.AF_INET6) as v6:
            v6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            v6.settimeout(20)
            v6.bind(("::", port))
            v6.listen()
            yield {4: v4, 6: v6}

    def visit(
        self,
        listener: socket.socket,
        version: int = 4,
        keys: KeyRing | None = None,
        port: int | None = None,
    ) -> Header:
        """Make one connection, check its header and payload, and return the header.

        It is made to `port` of a drawn address, by default to a drawn port.

        The server may see another client port than the header has: if the client uses one port for
        connections to two destinations, NAT gives the second one another port.
        """
        host, drawn = draw_destination(version)
        header, peer = exchange(self.lab.client, (host, port or drawn), listener, keys)
        assert header.src
        assert peer[0] == header.src[0]
        return header


def exchange(
    client: Node, destination: Address, listener: socket.socket, keys: KeyRing | None = None
) -> tuple[Header, Address]:
    """Make one connection, and check its header and payload. Returns header and peer."""
    with client.connect(destination) as sock:
        sock.sendall(b"payload")
        accepted, peer = listener.accept()
        with accepted:
            header, rest = read_header(accepted, keys)
            assert (header.dst, header.src) == (destination, sock.getsockname()[:2])
            while len(rest) < 7 and (more := accepted.recv(100)):
                rest += more
            assert rest == b"payload", rest
    return header, peer[:2]


def read_header(sock: socket.socket, keys: KeyRing | None = None) -> tuple[Header, bytes]:
    """The header, and the data behind it. The first read must return a whole header."""
    sock.settimeout(20)
    first = sock.recv(4096)
    found = proxy.decode(first, versions=(2,), keys=keys)
    assert found, f"no whole header in {first!r}"
    header, size = found
    return header, first[size:]

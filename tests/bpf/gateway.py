# SPDX-License-Identifier: MIT
"""A lab whose gateway translates and injects, and a listener behind it that reads the header."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ctwsgi.wire import proxy
from ctwsgi.wire.auth import KeyRing
from ctwsgi.wire.header import Header
from tests.lab import Lab, draw_destination
from tests.lab.rules import dnat

DEVICE = "server"
"""The gateway's, to the server."""


class Gateway:
    """`with Gateway() as gateway`: the program is not attached yet."""

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
        """`ctwsgi gateway WORDS` there."""
        return self.lab.gateway.run(
            [sys.executable, "-m", "ctwsgi", "gateway", *words], check=check
        )

    def status(self) -> dict[str, Any]:
        """Of DEVICE."""
        found: dict[str, Any] = json.loads(self.command("status", DEVICE, "--json").stdout)[0]
        return found

    def counters(self) -> dict[str, int]:
        """Without the zeros."""
        return {name: n for name, n in self.status()["counters"].items() if n}

    def backends(self, port: int) -> list[str]:
        """Options that select the server's port."""
        v4, v6 = (self.lab.server.address(version) for version in (4, 6))
        return ["--backend", f"{v4}:{port}", "--backend", f"[{v6}]:{port}"]

    @contextmanager
    def listening(self, version: int = 4) -> Iterator[socket.socket]:
        """A listener on the server, to which everything bound for nowhere is translated."""
        with self.lab.server.listen("0.0.0.0" if version == 4 else "::") as listener:
            port = listener.getsockname()[1]
            targets = ((self.lab.server.address(v), port) for v in (4, 6))
            with self.lab.gateway.rules(dnat(*targets)):
                yield listener

    def visit(
        self,
        listener: socket.socket,
        version: int = 4,
        keys: KeyRing | None = None,
        port: int | None = None,
    ) -> Header:
        """One connection with a payload; its header, which must tell the truth.

        To `port` of an address that is nowhere, by default any.

        The server may see another port than the client's own: two connections from one port to
        two destinations are one and the same to the server, and conntrack gives the second a port
        of its own. The header tells the client's.
        """
        host, drawn = draw_destination(version)
        destination = host, port or drawn
        with self.lab.client.connect(destination) as client:
            client.sendall(b"payload")
            accepted, peer = listener.accept()
            with accepted:
                header, rest = read_header(accepted, keys)
                assert (header.dst, header.src) == (destination, client.getsockname()[:2])
                while len(rest) < 7 and (more := accepted.recv(100)):
                    rest += more
                assert (rest, peer[0]) == (b"payload", client.getsockname()[0]), (rest, peer)
        return header


def read_header(sock: socket.socket, keys: KeyRing | None = None) -> tuple[Header, bytes]:
    """The header, and what came behind it. The first look must show a whole one."""
    sock.settimeout(20)
    first = sock.recv(4096)
    found = proxy.decode(first, versions=(2,), keys=keys)
    assert found, f"no whole header in {first!r}"
    header, size = found
    return header, first[size:]

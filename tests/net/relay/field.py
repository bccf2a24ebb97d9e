# SPDX-License-Identifier: MIT
"""`ctwsgi relay` behind a real REDIRECT, its upstream, and the client's sockets.

The test's process opens its sockets inside the namespaces and uses them from outside, so it plays
every part but the relay's.
"""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path

import pytest

from tests import ROOT
from tests.lab.streams import receive_all, receive_header
from tests.lab.wait import until

from .link import Link, somewhere

DEADLINE = 30.0

_client_ports = cycle(range(10_000, 32_000))
"""The kernel gives one port to connections to different destinations. After the REDIRECT these are
the same connection, so NAT changes the port of the second, and the relay sees another client."""

KEY_1, KEY_2 = "1 " + "11" * 16, "2 " + "22" * 32


class RelayProcess:
    """`ctwsgi relay` on the gateway; `log()` is its log."""

    def __init__(
        self, link: Link, stack: ExitStack, path: Path, arguments: tuple[str, ...]
    ) -> None:
        self._log = path
        command = [sys.executable, "-m", "ctwsgi", "relay", *arguments]
        with link.gateway.inside(), path.open("w") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log, cwd=ROOT)
        stack.callback(self._end)
        count = arguments.count("--listen")
        until(
            lambda: self.process.poll() is not None or len(self.ports()) == count, "the listeners"
        )
        assert self.process.poll() is None, self.log()

    def _end(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE)

    def log(self) -> str:
        return self._log.read_text()

    def ports(self) -> list[int]:
        return [int(port) for port in re.findall(r"listening on \S+:(\d+)", self.log())]

    def counters(self) -> dict[str, int]:
        """The counters that the process logs on SIGUSR1."""
        before = self.log().count("counters:")
        self.process.send_signal(signal.SIGUSR1)
        until(lambda: self.log().count("counters:") > before, "the counters")
        until(lambda: self.log().endswith("\n"), "the end of the line")
        return self.last_counters()

    def last_counters(self) -> dict[str, int]:
        line = self.log().rpartition("counters:")[2].splitlines()[0]
        return {name: int(number) for name, _, number in (w.rpartition("=") for w in line.split())}

    def wait_count(self, name: str, number: int = 1) -> None:
        until(lambda: self.counters().get(name, 0) == number, f"{name}={number}: {self.log()}")

    def stop(self) -> dict[str, int]:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(DEADLINE) == 0
        return self.last_counters()


class Field:
    """One test's relay, upstream and client sockets."""

    def __init__(self, link: Link, stack: ExitStack, path: Path) -> None:
        self.link = link
        self.stack = stack
        self._path = path

    def start(self, *arguments: str, upstream: str | None = None) -> RelayProcess:
        """Starts the relay and redirects everything to it; the default upstream is the field's."""
        if upstream is None:
            with self.link.gateway.inside():
                self.upstream = self.stack.enter_context(
                    socket.create_server(("127.0.0.1", 0), backlog=512)
                )
            self.upstream.settimeout(DEADLINE)
            upstream = "127.0.0.1:%d" % self.upstream.getsockname()[1]
        self.relay = RelayProcess(
            self.link,
            self.stack,
            self._path / "relay.log",
            ("--listen", "0.0.0.0:0", "--upstream", upstream, *arguments),
        )
        self.link.redirect(self.relay.ports()[0])
        return self.relay

    def start_v6(self, *arguments: str, upstream: str | None = None) -> RelayProcess:
        """As start(), but redirects to the relay's IPv6 listener."""
        relay = self.start("--listen", "[::]:0", *arguments, upstream=upstream)
        self.link.clear()
        self.link.redirect(relay.ports()[1])
        return relay

    def dial(self, address: tuple[str, int] | None = None) -> socket.socket:
        with self.link.client.inside():
            sock = socket.create_connection(
                address or somewhere(), DEADLINE, ("", next(_client_ports))
            )
        return self.stack.enter_context(sock)

    def accept(self) -> socket.socket:
        sock, _ = self.upstream.accept()
        sock.settimeout(DEADLINE)
        return self.stack.enter_context(sock)

    def pair(self) -> tuple[socket.socket, socket.socket]:
        client = self.dial()
        return client, self.accept()


def assert_dial_is_reset(field: Field, address: tuple[str, int] | None = None) -> None:
    with pytest.raises(ConnectionResetError):
        receive_all(field.dial(address))


def serve_echo(field: Field) -> None:
    """Has the upstream read the header, echo until the end, and close, in threads."""

    def echo(sock: socket.socket) -> None:
        with sock:
            try:
                receive_header(sock)
                while part := sock.recv(1 << 16):
                    sock.sendall(part)
            except (OSError, AssertionError):
                return

    def accept() -> None:
        while True:
            try:
                sock, _ = field.upstream.accept()
            except OSError:
                return
            sock.settimeout(DEADLINE)
            threading.Thread(target=echo, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()

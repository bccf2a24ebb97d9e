# SPDX-License-Identifier: MIT
"""One host of a running lab: commands, processes, sockets and rules inside its namespace."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from socket import (
    AF_INET,
    AF_INET6,
    SO_REUSEADDR,
    SOCK_STREAM,
    SOL_SOCKET,
    recv_fds,
    socketpair,
)
from socket import socket as Socket
from typing import TYPE_CHECKING

from .command import run_command
from .ending import undisturbed
from .process import Process
from .requirements import LabError
from .rules import TPROXY_MARK, TPROXY_TABLE, Table
from .topology import Host
from .wait import DEADLINE

if TYPE_CHECKING:
    from .lab import Lab

_MAKE_SOCKET = """
import socket, sys
made = socket.socket(int(sys.argv[1]), int(sys.argv[2]))
socket.send_fds(socket.socket(fileno=0), [b"s"], [made.fileno()])
"""


class Node:
    """A handle on one namespace. Made by Lab; valid while the lab stands."""

    def __init__(self, lab: Lab, host: Host, inode: int) -> None:
        self._lab = lab
        self.host = host
        self.name = host.name
        self.inode = inode
        """Of the network namespace, as /proc/PID/ns/net shows it."""

    def address(self, version: int = 4, peer: str | None = None) -> str:
        """Its address on the wire to `peer`, or on its first wire."""
        topology = self._lab.topology
        if peer is None:
            wire = next(w for w in topology.wires if self.name in (w.left, w.right))
            peer = wire.other(self.name)
        return topology.address(self.name, peer, version)

    def argv(self, command: Sequence[str]) -> list[str]:
        """`command` as something to run from outside the lab; it replaces itself, so pids hold."""
        return [*self._lab.enter(self.name), *command]

    def run(
        self,
        command: Sequence[str],
        *,
        check: bool = True,
        text_in: str | None = None,
        deadline: float = DEADLINE,
    ) -> subprocess.CompletedProcess[str]:
        """Runs to the end. LabError with the standard error when it fails and `check` is set, and
        when it does not end within `deadline` s.
        """
        try:
            done = run_command(self.argv(command), self._lab.environ, text_in, deadline)
        except subprocess.TimeoutExpired:
            words = " ".join(command)
            raise LabError(f"{self.name}: {words}: does not end within {deadline:g} s") from None
        if check and done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise LabError(f"{self.name}: {' '.join(command)}: {said or done.returncode}")
        return done

    def popen(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> Process:
        """Starts a process that the lab ends, at the latest, when it ends itself."""
        environ = {**self._lab.environ, **(env or {})}
        label = f"{self.name}: {' '.join(command)}"
        with undisturbed():
            return self._lab.adopt(Process(self.argv(command), self.inode, environ, label))

    def socket(self, family: int, kind: int = SOCK_STREAM) -> Socket:
        """A socket of this namespace for the calling process: it stays there all its life.

        Made by a child and handed over (SCM_RIGHTS), because this process cannot enter the
        namespace itself without root, and should not leave its own with it.
        """
        ours, theirs = socketpair()
        with ours, theirs:
            command = self.argv(
                [sys.executable, "-ISc", _MAKE_SOCKET, str(int(family)), str(int(kind))]
            )
            # It takes a moment, and an end in between would leave it to talk to a closed socket.
            with undisturbed():
                child = subprocess.Popen(
                    command,
                    env=self._lab.environ,
                    stdin=theirs.fileno(),
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                    text=True,
                )
                theirs.close()
                _, descriptors, _, _ = recv_fds(ours, 1, 1)
                _, said = child.communicate()
        if not descriptors:
            reason = said.strip().rpartition("\n")[2]
            raise LabError(f"{self.name}: no socket of family {family}: {reason}")
        return Socket(fileno=descriptors[0])

    def connect(self, address: tuple[str, int], deadline: float = DEADLINE) -> Socket:
        """A TCP connection from this host to `address`; `deadline` s hold for its later calls."""
        sock = self.socket(AF_INET6 if ":" in address[0] else AF_INET)
        sock.settimeout(deadline)
        try:
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        return sock

    def listen(self, host: str, port: int = 0) -> Socket:
        """A TCP listener on this host, accepting in the calling process."""
        sock = self.socket(AF_INET6 if ":" in host else AF_INET)
        sock.settimeout(DEADLINE)
        # A connection of an earlier test may still be in TIME_WAIT.
        sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen()
        return sock

    def nft(self, text: str) -> None:
        """Feeds `text` to nft."""
        self.run(["nft", "-f", "-"], text_in=text)

    @contextmanager
    def rules(self, table: Table) -> Iterator[None]:
        """The table stands inside the `with`."""
        self.nft(str(table))
        try:
            yield
        finally:
            self.nft(f"delete table inet {table.name}")

    def dropped(self, table: Table) -> int:
        """How many packets the counters of `table` have seen."""
        listing = self.run(["nft", "list", "table", "inet", table.name]).stdout
        return sum(map(int, re.findall(r"counter packets (\d+)", listing)))

    def ip(self, *words: str) -> str:
        """`ip WORDS` here; gives its output."""
        return self.run(["ip", *words]).stdout

    def sysctl(self, values: Mapping[str, int]) -> None:
        """Sets kernel parameters, named as in sysctl(8)."""
        script = "".join(
            f"echo {value} > /proc/sys/{name.replace('.', '/')}\n" for name, value in values.items()
        )
        # Through sh: procps, which has sysctl, is not on every Debian.
        self.run(["sh", "-ec", script])

    @contextmanager
    def marked_delivery(self) -> Iterator[None]:
        """Inside the `with`, packets that a tproxy rule marked are this host's own."""
        self._mark_routes("add")
        try:
            yield
        finally:
            self._mark_routes("del")

    def _mark_routes(self, verb: str) -> None:
        table = str(TPROXY_TABLE)
        for family in ("-4", "-6"):
            self.ip(family, "rule", verb, "fwmark", str(TPROXY_MARK), "lookup", table)
            self.ip(family, "route", verb, "local", "default", "dev", "lo", "table", table)

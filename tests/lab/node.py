# SPDX-License-Identifier: MIT
"""One host of a running lab: commands, processes, sockets and rules inside its namespace."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from select import POLLIN, POLLOUT
from socket import (
    AF_INET,
    AF_INET6,
    SO_ERROR,
    SO_REUSEADDR,
    SOCK_STREAM,
    SOL_SOCKET,
    recv_fds,
    socketpair,
)
from socket import socket as Socket
from subprocess import DEVNULL

from .command import run_command, started
from .ending import undisturbed
from .process import Process
from .requirements import LabError
from .rules import TPROXY_MARK, TPROXY_TABLE, Table
from .shared import Shared
from .topology import Host
from .wait import DEADLINE, until_ended, until_ready

_MAKE_SOCKET = """
import socket, sys
made = socket.socket(int(sys.argv[1]), int(sys.argv[2]))
socket.send_fds(socket.socket(fileno=0), [b"s"], [made.fileno()])
"""


class Node:
    """A host of a lab; valid until the lab is gone."""

    def __init__(self, shared: Shared, host: Host, inode: int) -> None:
        self._shared = shared
        self.host = host
        self.name = host.name
        self.inode = inode
        """The network namespace's, as in /proc/PID/ns/net."""

    def address(self, version: int = 4, peer: str | None = None) -> str:
        """Its address on the wire to `peer`, by default on its first wire."""
        topology = self._shared.topology
        if peer is None:
            wire = next(w for w in topology.wires if self.name in (w.left, w.right))
            peer = wire.other(self.name)
        return topology.address(self.name, peer, version)

    def argv(self, command: Sequence[str]) -> list[str]:
        """What to execute outside the lab to run `command` on this host, with the same pid."""
        return [*self._shared.enter(self.name), *command]

    def run(
        self,
        command: Sequence[str],
        *,
        check: bool = True,
        text_in: str | None = None,
        deadline: float = DEADLINE,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end.

        LabError with its standard error when it fails and `check` is set, and when it does not end
        within `deadline` s.
        """
        try:
            done = run_command(self.argv(command), self._shared.environ, text_in, deadline)
        except subprocess.TimeoutExpired:
            words = " ".join(command)
            raise LabError(f"{self.name}: {words}: does not end within {deadline:g} s") from None
        if check and done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise LabError(f"{self.name}: {' '.join(command)}: {said or done.returncode}")
        return done

    def popen(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> Process:
        """Starts a process. The lab stops it when it goes away."""
        environ = {**self._shared.environ, **(env or {})}
        label = f"{self.name}: {' '.join(command)}"
        return self._shared.adopt(Process(self.argv(command), self.inode, environ, label))

    def socket(self, family: int, kind: int = SOCK_STREAM) -> Socket:
        """A socket of this namespace for the calling process; it never changes its namespace.

        A child makes it and hands it over (SCM_RIGHTS): without root this process cannot enter the
        namespace, and with root it would have to leave its own.
        """
        ours, theirs = socketpair()
        numbers = [str(int(family)), str(int(kind))]
        command = self.argv([sys.executable, "-ISc", _MAKE_SOCKET, *numbers])
        with (
            ours,
            theirs,
            tempfile.TemporaryFile("w+") as errors,
            started(command, self._shared.environ, theirs.fileno(), DEVNULL, errors) as child,
        ):
            theirs.close()
            # A child that fails closes the socket, which makes it readable, too.
            if not until_ready(ours.fileno(), POLLIN) or not until_ended(child):
                raise TimeoutError(f"{self.name}: no socket within {DEADLINE:g} s")
            _, descriptors, _, _ = recv_fds(ours, 1, 1)
            errors.seek(0)
            reason = errors.read().strip().rpartition("\n")[2]
        if not descriptors:
            raise LabError(f"{self.name}: no socket of family {family}: {reason}")
        return Socket(fileno=descriptors[0])

    def connect(self, address: tuple[str, int], deadline: float = DEADLINE) -> Socket:
        """A TCP connection from this host to `address`. Its calls time out after `deadline` s."""
        sock = self.socket(AF_INET6 if ":" in address[0] else AF_INET)
        try:
            _connect(sock, address, deadline)
        except BaseException:
            sock.close()
            raise
        sock.settimeout(deadline)
        return sock

    def listen(self, host: str, port: int = 0) -> Socket:
        """A TCP listener on this host; the calling process accepts."""
        sock = self.socket(AF_INET6 if ":" in host else AF_INET)
        sock.settimeout(DEADLINE)
        # A connection of an earlier test may still be in TIME_WAIT.
        sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen()
        return sock

    def nft(self, text: str) -> None:
        """Has nft execute `text`."""
        self.run(["nft", "-f", "-"], text_in=text)

    @contextmanager
    def rules(self, table: Table) -> Iterator[None]:
        """The table exists inside the `with`."""
        self.nft(str(table))
        try:
            yield
        finally:
            with undisturbed():
                self.nft(f"delete table inet {table.name}")

    def dropped(self, table: Table) -> int:
        """How many packets the counters of `table` have seen."""
        listing = self.run(["nft", "list", "table", "inet", table.name]).stdout
        return sum(map(int, re.findall(r"counter packets (\d+)", listing)))

    def ip(self, *words: str) -> str:
        """The output of `ip WORDS` on this host."""
        return self.run(["ip", *words]).stdout

    def sysctl(self, values: Mapping[str, int]) -> None:
        """Sets kernel parameters, named as in sysctl(8)."""
        script = "".join(
            f"echo {value} > /proc/sys/{name.replace('.', '/')}\n" for name, value in values.items()
        )
        # sh, because a minimal Debian lacks procps, which has sysctl.
        self.run(["sh", "-ec", script])

    @contextmanager
    def marked_delivery(self) -> Iterator[None]:
        """Inside the `with`, this host takes packets that a tproxy rule marked for its own."""
        self._mark_routes("add")
        try:
            yield
        finally:
            with undisturbed():
                self._mark_routes("del")

    def _mark_routes(self, verb: str) -> None:
        table = str(TPROXY_TABLE)
        for family in ("-4", "-6"):
            self.ip(family, "rule", verb, "fwmark", str(TPROXY_MARK), "lookup", table)
            self.ip(family, "route", verb, "local", "default", "dev", "lo", "table", table)


def _connect(sock: Socket, address: tuple[str, int], deadline: float) -> None:
    """As `sock.connect`, but a signal ends the wait (ending.py)."""
    sock.setblocking(False)
    error = sock.connect_ex(address)
    if error == errno.EINPROGRESS:
        if not until_ready(sock.fileno(), POLLOUT, deadline):
            raise TimeoutError("timed out")
        error = sock.getsockopt(SOL_SOCKET, SO_ERROR)
    if error:
        raise OSError(error, os.strerror(error))

# SPDX-License-Identifier: MIT
"""Builds a topology out of network namespaces, and takes all of it away again.

    with Lab() as lab:
        with lab.server.rules(redirect(8000)), lab.server.listen("0.0.0.0", 8000) as listener:
            lab.client.run(["curl", "http://198.18.7.7:1234/"])

One process, the keeper, holds the lab. It has a mount namespace with a /run of its own, where
`ip netns` keeps its names, so that labs side by side do not see each other. Without root it is also
root of a user namespace. The keeper reads a pipe whose other end this process holds. The pipe
closes in __exit__, on Ctrl-C, and when this process is killed. Then the keeper kills whatever still
runs in the lab's namespaces, removes the scratch directory and ends, and the kernel removes the
namespaces with their last process. There is no state on disk to clean up.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType

from .command import kill, run_command
from .ending import undisturbed
from .node import Node
from .process import Process
from .requirements import (
    LabError,
    missing_tools,
    privileged,
    unshare_command,
    why_no_namespaces,
)
from .shared import Shared
from .topology import CLIENT_GATEWAY_SERVER, NOWHERE, Topology
from .wait import DEADLINE, until_ended, until_ready

_KEEPER = """
mount -t tmpfs -o mode=755 lab /run && mkdir /run/netns && echo ready || exit
cat > /dev/null
left() { for name in /run/netns/*; do ip netns pids "${name##*/}" 2>/dev/null; done; }
for round in $(seq 100); do
    pids=$(left) && [ -n "$pids" ] || break
    kill -9 $pids 2>/dev/null
    sleep 0.05
done
rm -rf -- "$1"
"""
"""$1 is the lab's scratch directory. The pauses give the kernel time to end what was killed."""


class Lab:
    """A running topology; a context manager. Its hosts are attributes: `lab.client`, ...

    LabError, with one line, when the machine cannot build it, and when a process outlives it.
    `grace` is how many seconds all processes together have between SIGTERM and SIGKILL at the end.
    """

    def __init__(self, topology: Topology = CLIENT_GATEWAY_SERVER, grace: float = 10.0) -> None:
        self.topology = topology
        self._grace = grace
        self.environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self._shared = Shared(topology, self.environ, self.enter, self.adopt)
        self.rootless = not privileged()
        self.scratch = Path()
        """A directory for key files and the like, mode 0700, removed with the lab."""
        self._nodes: dict[str, Node] = {}
        self._processes: list[Process] = []
        self._keeper: subprocess.Popen[bytes] | None = None
        self._keeper_errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the lab

    def __getattr__(self, name: str) -> Node:
        nodes: dict[str, Node] = self.__dict__.get("_nodes", {})
        if name not in nodes:
            raise AttributeError(f"no host named {name!r} in this lab")
        return nodes[name]

    def __enter__(self) -> Lab:
        lacks = missing_tools()
        if lacks:
            raise LabError(lacks)
        try:
            self.scratch = Path(tempfile.mkdtemp(prefix="ctwsgi-lab-"))
            self._start_keeper()
            self._wait_for_keeper()
            self._build()
        except BaseException:
            with undisturbed():
                self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        with self.namespaces_kept():
            with undisturbed():
                try:
                    self._stop_processes()
                finally:
                    self._close()
            left = living_in(node.inode for node in self._nodes.values())
        if left:
            raise LabError(f"processes outlived the lab: {left}")

    @contextmanager
    def namespaces_kept(self) -> Iterator[None]:
        """Keeps the numbers that name the hosts' namespaces from being used again, by another lab
        for instance, also when this lab ends within the `with`."""
        with ExitStack() as kept:
            for name in self._nodes:
                with suppress(OSError):  # the keeper was killed
                    kept.enter_context(open(self._namespace(name), "rb"))
            yield

    def _namespace(self, name: str) -> str:
        # Through the keeper's root, because the names exist only in its mount namespace.
        return f"/proc/{self.keeper}/root/run/netns/{name}"

    def enter(self, name: str) -> list[str]:
        """The prefix of a command that enters a host's network namespace, and no other."""
        return [*self._nsenter(), f"--net={self._namespace(name)}", "--"]

    def inside(self) -> list[str]:
        """The prefix of a command beside the hosts, where `ip netns` knows their names."""
        # --root, because entering a mount namespace leaves a chroot.
        return [*self._nsenter(), "--mount", "--root", "--net", f"--wd={os.getcwd()}", "--"]

    def adopt(self, process: Process) -> Process:
        """Has the lab stop `process` when the lab ends."""
        self._processes.append(process)
        return process

    @property
    def keeper(self) -> int:
        """The pid of the process that holds the lab."""
        assert self._keeper
        return self._keeper.pid

    def _nsenter(self) -> list[str]:
        user = ["--user", "--preserve-credentials"] if self.rootless else []
        return ["nsenter", "--target", str(self.keeper), *user]

    def _start_keeper(self) -> None:
        self._keeper = subprocess.Popen(
            [*unshare_command(), "sh", "-c", _KEEPER, "lab-keeper", str(self.scratch)],
            env=self.environ,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._keeper_errors,
            start_new_session=True,  # the terminal's Ctrl-C is not for the keeper
        )

    def _wait_for_keeper(self) -> None:
        assert self._keeper
        assert self._keeper.stdout
        if not until_ready(self._keeper.stdout.fileno(), select.POLLIN):
            raise LabError(f"making namespaces takes longer than {DEADLINE:g} s")
        if self._keeper.stdout.readline() != b"ready\n":
            self._keeper_errors.seek(0)
            raise LabError(why_no_namespaces(self._keeper_errors.read()))

    def _build(self) -> None:
        for host in self.topology.hosts:
            self._ip("netns", "add", host.name)
            inode = os.stat(self._namespace(host.name)).st_ino
            self._nodes[host.name] = Node(self._shared, host, inode)
            self._nodes[host.name].sysctl(_sysctls(host.forwards))
        for wire in self.topology.wires:
            self._ip(
                *("-n", wire.left, "link", "add", "name", wire.right),
                *("address", self.topology.hardware(wire.left, wire.right), "type", "veth"),
                *("peer", "name", wire.left, "netns", wire.right),
                *("address", self.topology.hardware(wire.right, wire.left)),
            )
            for end, peer in ((wire.left, wire.right), (wire.right, wire.left)):
                self._batch(end, self._plug_in(end, peer, wire.mtu))
        for host in self.topology.hosts:
            self._batch(host.name, self._routes(host.name))

    def _plug_in(self, host: str, peer: str, mtu: int) -> list[str]:
        """Configures one end. Permanent neighbours and `nodad`: nothing waits for ARP or DAD."""
        at, mac = self.topology.address, self.topology.hardware(peer, host)
        return [
            f"addr add {at(host, peer)}/24 dev {peer}",
            f"addr add {at(host, peer, 6)}/64 dev {peer} nodad",
            f"link set dev {peer} mtu {mtu} up",
            f"neigh replace {at(peer, host)} lladdr {mac} nud permanent dev {peer}",
            f"neigh replace {at(peer, host, 6)} lladdr {mac} nud permanent dev {peer}",
        ]

    def _routes(self, name: str) -> list[str]:
        host, nowhere = self._nodes[name].host, self.topology.nowhere
        lines = ["link set lo up"]
        for version in (4, 6):
            if host.default:
                lines.append(f"route add default via {self._next(name, host.default, version)}")
            if host.forwards and nowhere:
                via = self._next(name, nowhere, version)
                lines.append(f"route add {NOWHERE[version]} via {via}")
        return lines

    def _next(self, name: str, peer: str, version: int) -> str:
        return self.topology.address(peer, name, version)

    def _batch(self, host: str, lines: Iterable[str]) -> None:
        self._ip("-n", host, "-batch", "-", text_in="\n".join(lines) + "\n")

    def _ip(self, *words: str, text_in: str = "") -> None:
        done = run_command([*self.inside(), "ip", *words], self.environ, text_in)
        if done.returncode:
            raise LabError(f"ip {' '.join(words)}: {done.stderr.strip()}")

    def _stop_processes(self) -> None:
        # All get SIGTERM before any is waited for: they end side by side.
        for process in self._processes:
            if process.returncode is None:
                process.signal(signal.SIGTERM)
        end = time.monotonic() + self._grace
        for process in self._processes:
            process.stop(max(0.0, end - time.monotonic()))

    def _close(self) -> None:
        """Closes the keeper's pipe. The keeper kills what is left, and is waited for."""
        if self._keeper:
            assert self._keeper.stdin
            assert self._keeper.stdout
            self._keeper.stdin.close()
            if not until_ended(self._keeper):
                kill(self._keeper)
            self._keeper.stdout.close()
        self._keeper_errors.close()
        with suppress(OSError):
            self.scratch.rmdir()  # a keeper that could not start has not removed it


def living_in(namespaces: Iterable[int]) -> list[int]:
    """The pids of all processes in these network namespaces, given by inode."""
    wanted = set(namespaces)
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "ns/net").stat().st_ino in wanted:
                found.append(int(entry.name))
        except OSError:
            continue  # it has ended, or it is another user's
    return found


def _sysctls(forwards: bool) -> dict[str, int]:
    both = [f"net.ipv6.conf.{which}" for which in ("all", "default")]
    return {
        "net.ipv4.ip_forward": int(forwards),
        "net.ipv6.conf.all.forwarding": int(forwards),
        # The initial values in a namespace depend on the machine's settings.
        "net.ipv4.conf.all.rp_filter": 0,
        "net.ipv4.conf.default.rp_filter": 0,
        **{f"{conf}.accept_dad": 0 for conf in both},
        **{f"{conf}.accept_ra": 0 for conf in both},
    }

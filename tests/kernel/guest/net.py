# SPDX-License-Identifier: MIT
"""Network namespaces, which this process enters: sockets, commands, settings, counters.

A `Namespace` has no name in the file system and lives as long as this object. The other ends of its
wires do not keep it alive, so a case can remove it while traffic flows.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM
from socket import socket as Socket

CLONE_NEWNET = 0x40000000
SIOCSIFMTU, SIOCETHTOOL = 0x8922, 0x8946

# linux/ethtool.h: the ioctl commands that set one feature. ethtool itself takes 0.2 s to start
# under emulation, and a case changes ten features.
ETHTOOL_SET = {"rx": 0x15, "tx": 0x17, "sg": 0x19, "tso": 0x1F, "gso": 0x24, "gro": 0x2C}

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: int) -> None:
    if getattr(_libc, name)(*arguments):
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def _own() -> int:
    # thread-self, because /proc/self has the main thread's namespace, which may be another one.
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


class CommandError(Exception):
    """A command failed; the text has the command and its output."""


def _made() -> int:
    before = _own()
    try:
        _call("unshare", CLONE_NEWNET)
        made = _own()
        _call("setns", before, CLONE_NEWNET)
    finally:
        os.close(before)
    return made


def _made_by_a_user() -> int:
    # A process of its own, because a thread cannot enter another user namespace.
    command = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", "echo; read -r _"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        made = os.open(f"/proc/{process.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        process.stdin.close()
    return made


class Namespace:
    """A new network namespace with `lo` up. With `user` it belongs to a new user namespace, like
    one that an unprivileged user makes."""

    def __init__(self, name: str, user: bool = False) -> None:
        self.name = name
        self._fd = _made_by_a_user() if user else _made()
        self.run("ip", "link", "set", "lo", "up")

    @property
    def path(self) -> str:
        """For `ip link ... netns PATH`."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    @property
    def is_open(self) -> bool:
        """Whether `close()` was not called."""
        return self._fd >= 0

    def close(self) -> None:
        """Closes it; a second call does nothing. The kernel removes it after its last socket."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Moves this thread into it. Sockets and processes made in the `with` stay there."""
        before = _own()
        try:
            _call("setns", self._fd, CLONE_NEWNET)
            try:
                yield
            finally:
                _call("setns", before, CLONE_NEWNET)
        finally:
            os.close(before)

    def run(self, *command: str, text: str | None = None) -> str:
        """Runs the command and returns its output. CommandError when it fails."""
        with self.entered():
            done = subprocess.run(
                command,
                input=text,
                stdin=subprocess.DEVNULL if text is None else None,
                capture_output=True,
                text=True,
            )
        if done.returncode:
            given = f"\n{text}" if text else ""
            raise CommandError(f"{self.name}: {' '.join(command)}: {done.stderr.strip()}{given}")
        return done.stdout

    def nft(self, text: str) -> str:
        """Loads rules in nft's language, in one transaction."""
        return self.run("nft", "-f", "-", text=text)

    def batch(self, tool: str, *lines: str) -> None:
        """Runs several commands of `ip` or `tc` in one process."""
        self.run(tool, "-batch", "-", text="\n".join(lines) + "\n")

    def socket(self, family: int, kind: int = SOCK_STREAM, protocol: int = 0) -> Socket:
        """A non-blocking socket of this namespace."""
        with self.entered():
            made = Socket(family, kind, protocol)
        made.setblocking(False)
        return made

    def sysctl(self, values: Mapping[str, object]) -> dict[str, str]:
        """Sets parameters, named as in sysctl(8). Returns their former values."""
        former = {}
        with self.entered():
            for name, value in values.items():
                path = "/proc/sys/" + name.replace(".", "/")
                with open(path) as file:
                    former[name] = file.read().strip()
                with open(path, "w") as file:
                    file.write(str(value))
        return former

    @contextmanager
    def sysctls(self, values: Mapping[str, object]) -> Iterator[None]:
        """Sets the parameters in the `with`."""
        former = self.sysctl(values)
        try:
            yield
        finally:
            self.sysctl(former)

    def proc(self, name: str) -> str:
        """The text of this namespace's /proc/net/NAME."""
        with self.entered(), open(f"/proc/thread-self/net/{name}") as file:
            return file.read()

    def write_proc(self, name: str, text: str) -> None:
        """Writes to this namespace's /proc/net/NAME, in one write()."""
        with self.entered():
            descriptor = os.open(f"/proc/thread-self/net/{name}", os.O_WRONLY)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def offloads(self, device: str, values: Mapping[str, bool]) -> None:
        """Switches features of ETHTOOL_SET. OSError (EOPNOTSUPP) for a fixed one."""
        with self.entered(), Socket(AF_INET, SOCK_DGRAM) as control:
            for feature, on in values.items():
                # struct ethtool_value behind struct ifreq's pointer
                value = array.array("I", [ETHTOOL_SET[feature], int(on)])
                request = struct.pack("16sP", device.encode(), value.buffer_info()[0])
                fcntl.ioctl(control, SIOCETHTOOL, request)

    def set_mtu(self, device: str, mtu: int) -> None:
        with self.entered(), Socket(AF_INET, SOCK_DGRAM) as control:
            request = struct.pack("16si12x", device.encode(), mtu)  # struct ifreq
            fcntl.ioctl(control, SIOCSIFMTU, request)

    def counters(self) -> dict[str, int]:
        """The counters of /proc/net/netstat (TcpExt...) and /proc/net/snmp (Tcp...)."""
        found: dict[str, int] = {}
        for name in ("netstat", "snmp"):
            lines = self.proc(name).splitlines()
            for head, row in zip(lines[::2], lines[1::2], strict=True):
                prefix = head.partition(":")[0]
                pairs = zip(head.split()[1:], row.split()[1:], strict=True)
                found.update((prefix + key, int(value)) for key, value in pairs)
        return found

# SPDX-License-Identifier: MIT
"""The kernel's state: conntrack's counters, open sockets, the log."""

from __future__ import annotations

import asyncio
import os
import struct
import time
from collections.abc import Callable
from socket import AF_NETLINK, SOCK_RAW

from tests.kernel import kmsg

from .net import Namespace

NETLINK_NETFILTER = 12
_FLUSH = struct.pack("=IHHII BBH", 20, 1 << 8 | 2, 0x1 | 0x4, 1, 0, 0, 0, 0)
"""nlmsghdr and nfgenmsg: CTNETLINK's DELETE without a tuple, REQUEST | ACK. Every case ends with
it, and `conntrack -F` would take a third of a second to start under emulation."""

TIME_WAIT, LISTEN = "06", "0A"


def conntrack(space: Namespace) -> dict[str, int]:
    """/proc/net/stat/nf_conntrack, summed over the processors: invalid, insert_failed, drop, ..."""
    head, *rows = (line.split() for line in space.proc("stat/nf_conntrack").splitlines())
    columns = zip(*rows, strict=True)
    return {n: sum(int(v, 16) for v in column) for n, column in zip(head, columns, strict=True)}


def flush_conntrack(space: Namespace) -> None:
    """Deletes every conntrack entry."""
    with space.socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER) as sock:
        sock.setblocking(True)
        sock.settimeout(60)
        sock.send(_FLUSH)
        answer = sock.recv(4096)
    code = struct.unpack_from("=i", answer, 16)[0]
    if code:
        raise OSError(-code, "conntrack flush")


def unsettled(space: Namespace) -> list[str]:
    """The states, as in /proc, of TCP sockets that neither listen nor are in TIME_WAIT."""
    lines = (space.proc("tcp") + space.proc("tcp6")).splitlines()
    states = [fields[3] for fields in map(str.split, lines) if fields[0] != "sl"]
    return [state for state in states if state not in (TIME_WAIT, LISTEN)]


async def until(event: Callable[[], object], what: str, limit: float = 60.0) -> None:
    """Waits until `event()` is true. After `limit` seconds it raises TimeoutError with `what`."""
    end = time.monotonic() + limit
    pause = 0.002
    while not event():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {limit:g} s")
        await asyncio.sleep(pause)
        pause = min(pause * 2, 0.05)


class Log:
    """Reads the kernel's log from now on, and writes marks for the cases to it."""

    def __init__(self) -> None:
        self._fd = os.open("/dev/kmsg", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        os.lseek(self._fd, 0, os.SEEK_END)

    def mark(self, suite: str, case: str) -> None:
        """Writes the mark by which tests/kernel/kmsg.py assigns complaints to cases."""
        self.complaints()
        os.write(self._fd, f"ctwsgi: case {suite}/{case}".encode())

    def complaints(self) -> list[str]:
        """The kernel's complaints since the last call."""
        lines = []
        while True:
            try:
                record = os.read(self._fd, 8192).decode(errors="replace")
            except BlockingIOError:
                break
            except BrokenPipeError:  # the kernel overwrote records before they were read
                continue
            head, _, text = record.partition(";")
            priority, _, stamp, *_ = head.split(",")
            lines.append(f"<{priority}>[{int(stamp) / 1e6:.6f}] {text.splitlines()[0]}")
        return [str(finding) for finding in kmsg.scan("\n".join(lines))]

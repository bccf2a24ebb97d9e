# SPDX-License-Identifier: MIT
"""What the kernel says of itself: conntrack's counters, its log, who is still connected."""

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
"""nlmsghdr and nfgenmsg: CTNETLINK's DELETE without a tuple, REQUEST | ACK. In netlink because
`conntrack -F` takes a third of a second to start under TCG, and every case ends with one."""

TIME_WAIT, LISTEN = "06", "0A"


def conntrack(space: Namespace) -> dict[str, int]:
    """/proc/net/stat/nf_conntrack, summed over the processors: invalid, insert_failed, drop, ..."""
    head, *rows = (line.split() for line in space.proc("stat/nf_conntrack").splitlines())
    columns = zip(*rows, strict=True)
    return {n: sum(int(v, 16) for v in column) for n, column in zip(head, columns, strict=True)}


def flush_conntrack(space: Namespace) -> None:
    """Deletes every entry."""
    with space.socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER) as sock:
        sock.setblocking(True)
        sock.settimeout(20)
        sock.send(_FLUSH)
        answer = sock.recv(4096)
    code = struct.unpack_from("=i", answer, 16)[0]
    if code:
        raise OSError(-code, "conntrack flush")


def unsettled(space: Namespace) -> list[str]:
    """States of the TCP sockets that are neither listening, gone, nor in TIME_WAIT, as in /proc."""
    lines = (space.proc("tcp") + space.proc("tcp6")).splitlines()
    states = [fields[3] for fields in map(str.split, lines) if fields[0] != "sl"]
    return [state for state in states if state not in (TIME_WAIT, LISTEN)]


async def until(event: Callable[[], object], what: str, limit: float = 30.0) -> None:
    """Until `event()` is true; TimeoutError that names `what` after `limit` seconds."""
    end = time.monotonic() + limit
    pause = 0.002
    while not event():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {limit:g} s")
        await asyncio.sleep(pause)
        pause = min(pause * 2, 0.05)


class Log:
    """The kernel's log from now on. What is written here marks the cases in it."""

    def __init__(self) -> None:
        self._fd = os.open("/dev/kmsg", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        os.lseek(self._fd, 0, os.SEEK_END)

    def mark(self, suite: str, case: str) -> None:
        """What tests/kernel/kmsg.py reads from outside when the guest did not live to tell."""
        self.complaints()
        os.write(self._fd, f"ctwsgi: case {suite}/{case}".encode())

    def complaints(self) -> list[str]:
        """What the kernel has complained of since the last call."""
        lines = []
        while True:
            try:
                record = os.read(self._fd, 8192).decode(errors="replace")
            except BlockingIOError:
                break
            except BrokenPipeError:  # records were overwritten before they were read
                continue
            head, _, text = record.partition(";")
            priority, _, stamp, *_ = head.split(",")
            lines.append(f"<{priority}>[{int(stamp) / 1e6:.6f}] {text.splitlines()[0]}")
        return [str(finding) for finding in kmsg.scan("\n".join(lines))]

# SPDX-License-Identifier: MIT
"""What the kernel announces of this namespace's packet filter, for the scripts beside this one.

Netlink's announcements (nfnetlink, group NFNLGRP_NFTABLES) come when a transaction is committed.
The clock is CLOCK_MONOTONIC, the same for all of this machine.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

_NETLINK_NETFILTER, _NFNLGRP_NFTABLES = 12, 7


def announced() -> Iterator[tuple[int, bytes, float]]:
    """Type, message behind the netlink header, seconds. Says `ready` when it listens."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    # As root: beyond net.core.rmem_max, so that no burst is lost.
    sock.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
    sock.bind((0, 1 << (_NFNLGRP_NFTABLES - 1)))
    print("ready", flush=True)
    while True:
        data, now = sock.recv(1 << 20), time.monotonic()
        while len(data) >= 16:
            length, kind = struct.unpack_from("=LH", data)
            yield kind, data[16:length], now
            data = data[length + 3 & ~3 :]

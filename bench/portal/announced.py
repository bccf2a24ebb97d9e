# SPDX-License-Identifier: MIT
"""The kernel's announcements of this namespace's packet filter, for the scripts of this folder.

The kernel announces a transaction over netlink (nfnetlink, group NFNLGRP_NFTABLES) when it is
committed. The clock is CLOCK_MONOTONIC, the same for all processes of this machine.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

from ctwsgi_portal.gateway.netlink import NETLINK_NETFILTER, NFNLGRP_NFTABLES, messages


def announced() -> Iterator[tuple[int, bytes, float]]:
    """(type, message without the netlink header, seconds). Prints `ready` when it listens."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    # Root may exceed net.core.rmem_max, so that no burst is lost.
    sock.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
    sock.bind((0, 1 << (NFNLGRP_NFTABLES - 1)))
    print("ready", flush=True)
    while True:
        data, now = sock.recv(1 << 20), time.monotonic()
        for kind, message in messages(data):
            yield kind, message, now

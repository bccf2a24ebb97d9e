# SPDX-License-Identifier: MIT
"""Waits for changes of the packet filter's rules, which the kernel announces over netlink.

The group is NFNLGRP_NFTABLES of nfnetlink (linux/netfilter/nfnetlink.h). Announcements of elements,
which are frequent, are ignored.
"""

from __future__ import annotations

import select
import socket
import time

from .netlink import NETLINK_NETFILTER, NFNL_SUBSYS_NFTABLES, NFNLGRP_NFTABLES, messages

# NEWTABLE, DELTABLE, NEWCHAIN, DELCHAIN, NEWRULE, DELRULE, NEWSET, DELSET (nf_tables.h)
_RULE_CHANGES = {0, 2, 3, 5, 6, 8, 9, 11}


class Watch:
    """A socket in the group."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self._socket.bind((0, 1 << (NFNLGRP_NFTABLES - 1)))
        self._socket.setblocking(False)

    def wait(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds for a change of rules; False when there is none."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            if select.select([self._socket], [], [], left)[0] and self._changed():
                return True
        return False

    def close(self) -> None:
        """Leaves the group."""
        self._socket.close()

    def _changed(self) -> bool:
        try:
            data = self._socket.recv(1 << 20)
        except BlockingIOError:
            return False
        except OSError:
            return True  # ENOBUFS: announcements were lost, so there may be a change
        return any(
            kind >> 8 == NFNL_SUBSYS_NFTABLES and kind & 0xFF in _RULE_CHANGES
            for kind, _ in messages(data)
        )

# SPDX-License-Identifier: MIT
"""Deletes the flows of clients that are no longer granted from conntrack.

The packet filter checks every packet, and so cuts these flows anyway. Deleting them makes the
kernel decide their translations again, and keeps the table from filling with dead flows.

It uses nfnetlink's IPCTNL_MSG_CT_* (linux/netfilter/nfnetlink_conntrack.h), because the conntrack
tool can only delete all flows of an address. Flows to the portal need no grant and have to stay: a
client that was just cut off reads its last answer on one, or is being redirected on one, and would
wait for ever if conntrack did not know the flow of the answer.
"""

from __future__ import annotations

import errno
import logging
import queue
import socket
import struct
import threading
import time
from collections.abc import Collection, Iterable, Iterator

from . import netlink
from .netlink import NESTED, NETLINK_NETFILTER, NFGENMSG, attribute

log = logging.getLogger("ctwsgi.portal.gateway")

_SUBSYSTEM = 1 << 8  # NFNL_SUBSYS_CTNETLINK
_GET, _DELETE = 1, 2  # IPCTNL_MSG_CT_*
_ORIGINAL, _STATUS, _ID, _ZONE = 1, 3, 12, 18  # CTA_*
_ENDS = {
    socket.AF_INET: struct.Struct("16x4s4x4s"),
    socket.AF_INET6: struct.Struct("16x16s4x16s"),
}
"""Source and destination. The kernel puts CTA_TUPLE_ORIG first, and CTA_TUPLE_IP first in it."""
_REDIRECTED = 1 << 5  # IPS_DST_NAT (linux/netfilter/nf_conntrack_common.h)
_LONGEST = 1 << 16
_PATIENCE = 5.0

_Flow = dict[int, bytes]
"""Attributes of a message of the kernel, by type."""


class Flows:
    """A thread deletes the flows, because each call walks the whole table of connections.

    `portal` are the addresses of the portal's machines, except this one.
    """

    def __init__(self, portal: Collection[str]) -> None:
        self._portal = {_packed(address) for address in portal}
        self._addresses: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="flows", daemon=True)
        self._thread.start()

    def cut(self, address: str) -> None:
        """Lets the thread delete every flow that this address began, except those to the portal."""
        self._addresses.put(address)

    def close(self) -> None:
        """Returns when all calls of cut() are done."""
        self._addresses.put(None)
        self._thread.join()

    def _run(self) -> None:
        complained = False
        while addresses := self._take():
            began = time.monotonic()
            try:
                self._cut(addresses)
            except OSError as e:
                if not complained:
                    log.warning("conntrack refuses (%s): flows end by the rules only", e)
                complained = True
            # Pauses as long as this took. Addresses of further calls are collected meanwhile.
            time.sleep(time.monotonic() - began)

    def _take(self) -> list[str]:
        """Waits for an address, and returns all that are queued; an empty list at the end."""
        taken: list[str] = []
        while (address := self._addresses.get()) is not None:
            taken.append(address)
            if self._addresses.empty():
                return taken
        self._addresses.put(None)  # for the next call
        return taken

    def _cut(self, addresses: Iterable[str]) -> None:
        sources: dict[socket.AddressFamily, set[bytes]] = {}
        for address in addresses:
            sources.setdefault(_version(address), set()).add(_packed(address))
        refused = 0
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as sock:
            sock.settimeout(_PATIENCE)
            for version, wanted in sources.items():
                for destination, flow in list(_begun_by(sock, version, wanted)):
                    if destination not in self._portal and not _redirected(flow):
                        refused = _delete(sock, version, flow) or refused
        if refused:
            raise _error(refused)


def _begun_by(
    sock: socket.socket, version: socket.AddressFamily, sources: Collection[bytes]
) -> Iterator[tuple[bytes, _Flow]]:
    """(destination, flow) for each flow that one of `sources` began."""
    # The kernel's own filter (CTA_FILTER) returns the wrong flows for IPv6 (6.18).
    ends = _ENDS[version]
    body = NFGENMSG.pack(version, 0, 0)
    sock.send(netlink.message(_SUBSYSTEM | _GET, netlink.DUMP, 1, body))
    while True:
        for kind, payload in netlink.messages(sock.recv(_LONGEST)):
            if kind == netlink.DONE:
                return
            if kind == netlink.ERROR:
                raise _error(netlink.error(payload))
            source, destination = ends.unpack_from(payload)
            if source in sources:
                yield destination, dict(netlink.attributes(payload[NFGENMSG.size :]))


def _redirected(flow: _Flow) -> bool:
    return bool(int.from_bytes(flow.get(_STATUS, b""), "big") & _REDIRECTED)


def _delete(sock: socket.socket, version: socket.AddressFamily, flow: _Flow) -> int:
    """Deletes the flow with this id: a new one of the same addresses stays. Returns an errno."""
    body = NFGENMSG.pack(version, 0, 0) + attribute(_ORIGINAL | NESTED, flow[_ORIGINAL])
    body += b"".join(attribute(kind, flow[kind]) for kind in (_ID, _ZONE) if kind in flow)
    sock.send(netlink.message(_SUBSYSTEM | _DELETE, netlink.ACK, 2, body))
    codes = [
        netlink.error(p) for k, p in netlink.messages(sock.recv(_LONGEST)) if k == netlink.ERROR
    ]
    return next((code for code in codes if code not in (0, errno.ENOENT)), 0)


def _version(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _packed(address: str) -> bytes:
    return socket.inet_pton(_version(address), address)


def _error(code: int) -> OSError:
    return OSError(code, errno.errorcode.get(code, "?"))

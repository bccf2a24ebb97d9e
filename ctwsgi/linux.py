# SPDX-License-Identifier: MIT
"""Questions to the Linux kernel: a socket's destination before NAT, and this host's addresses.

Conntrack answers `SO_ORIGINAL_DST` (net/netfilter/nf_conntrack_proto.c, getorigdst()), on the host
and in the network namespace that did the NAT and nowhere else.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from typing import Any

import psutil

from .errors import OriginError, Reason
from .origin import Address
from .wire.address import host_text, normal_host

SO_ORIGINAL_DST = 80
"""linux/netfilter_ipv4.h; IP6T_SO_ORIGINAL_DST (netfilter_ipv6/ip6_tables.h) is 80 as well."""

_SOCKADDR_IN = struct.Struct("!2xH4s8x")
_SOCKADDR_IN6 = struct.Struct("!2xH4x16s4x")

_ERRNO_REASONS = {
    errno.ENOPROTOOPT: (
        Reason.CONNTRACK_UNAVAILABLE,
        "the kernel tracks no connections in this namespace: load nf_conntrack by a nat rule",
    ),
    errno.EOPNOTSUPP: (Reason.CONNTRACK_UNSUPPORTED, "not a TCP socket over IPv4 or IPv6"),
}


def normal_address(sockaddr: Any) -> Address | None:
    """The (host, port) that getsockname(), getpeername() or accept() returned; None for a unix
    socket."""
    if isinstance(sockaddr, tuple):
        return normal_host(sockaddr[0]), sockaddr[1]
    return None


def original_destination(sock: Any) -> Address | None:
    """The destination before NAT; None without a conntrack entry, and when the client dialled the
    address where it arrived.

    `sock` is any connected socket object. Raises OriginError when the kernel cannot answer.
    """
    local = sock.getsockname()
    if not isinstance(local, tuple):
        raise OriginError(Reason.CONNTRACK_UNSUPPORTED, "a unix socket has no conntrack entry")
    here = (normal_host(local[0]), local[1])
    # Conntrack has a v4-mapped peer of a dual-stack listener as IPv4.
    family = socket.AF_INET6 if ":" in here[0] else socket.AF_INET
    there = _getorigdst(sock, family)
    return None if there == here else there


def _getorigdst(sock: Any, family: int) -> Address | None:
    v4 = family == socket.AF_INET
    level, sockaddr = (socket.SOL_IP, _SOCKADDR_IN) if v4 else (socket.IPPROTO_IPV6, _SOCKADDR_IN6)
    try:
        raw = sock.getsockopt(level, SO_ORIGINAL_DST, sockaddr.size)
    except OSError as e:
        if e.errno == errno.ENOENT:
            return None
        reason, detail = _ERRNO_REASONS.get(e.errno or 0, (Reason.CONNTRACK_ERROR, str(e)))
        raise OriginError(reason, detail) from e
    port, host = sockaddr.unpack(raw)
    return host_text(host), port


class LocalAddresses:
    """The addresses of this host's interfaces, read again when older than `ttl` seconds."""

    def __init__(self, ttl: float = 5.0) -> None:
        self._ttl = ttl
        self._asked = float("-inf")
        self._hosts: frozenset[str] = frozenset()

    def __contains__(self, host: str) -> bool:
        now = time.monotonic()
        if now - self._asked > self._ttl:
            self._asked = now
            self._hosts = frozenset(
                normal_host(a.address)
                for addresses in psutil.net_if_addrs().values()
                for a in addresses
                if a.family in (socket.AF_INET, socket.AF_INET6)
            )
        return host in self._hosts or host.startswith("127.") or host in ("::1", "0.0.0.0", "::")

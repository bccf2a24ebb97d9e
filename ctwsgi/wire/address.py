# SPDX-License-Identifier: MIT
"""Addresses as bytes and as text, in the spelling of the environ contract (docs/environ.md)."""

from __future__ import annotations

from functools import partial
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

V4_MAPPED = b"\0" * 10 + b"\xff\xff"
"""RFC 4291, 2.5.5.2: the first 12 bytes of an IPv6 address that holds an IPv4 one."""


# int(): inet_ntop takes a quarter less time with a plain number than with the enum.
ipv4_text = partial(inet_ntop, int(AF_INET))
"""Writes 4 bytes, network order, as a dotted quad."""


def host_text(packed: bytes) -> str:
    """Writes 4 or 16 bytes, network order, as inet_ntop does; a v4-mapped address as IPv4."""
    if len(packed) == 4:
        return ipv4_text(packed)
    if packed[:12] == V4_MAPPED:
        return ipv4_text(packed[12:])
    return inet_ntop(AF_INET6, packed)


def pack_host(host: str) -> bytes:
    """Packs an address into 4 or 16 bytes. ValueError for anything else."""
    try:
        return inet_pton(AF_INET6 if ":" in host else AF_INET, host)
    except OSError:
        raise ValueError(f"not an IP address: {host!r}") from None


def pack_pair(src: str, dst: str) -> tuple[bytes, bytes]:
    """Packs both hosts to the same length, because a header names one family.

    4 bytes each if both are IPv4 (v4-mapped counts as IPv4), else 16, where an IPv4 address becomes
    v4-mapped. ValueError for anything that is not an address.
    """
    one, two = _shortest(pack_host(src)), _shortest(pack_host(dst))
    if len(one) != len(two):
        return _widest(one), _widest(two)
    return one, two


def _shortest(packed: bytes) -> bytes:
    return packed[12:] if packed[:12] == V4_MAPPED else packed


def _widest(packed: bytes) -> bytes:
    return V4_MAPPED + packed if len(packed) == 4 else packed


def normal_host(host: str) -> str:
    """Spells a host from a socket call as the contract does: no zone, v4-mapped as IPv4."""
    if ":" not in host:
        return host
    return host_text(inet_pton(AF_INET6, host.partition("%")[0]))


def show(host: str, port: int) -> str:
    """`host:port`, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_endpoint(text: str) -> tuple[str, int]:
    """Splits `HOST:PORT` or `[V6]:PORT`; port 0 is allowed. ValueError for anything else.

    The host may be a name; the caller checks it.
    """
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    usable = host and port.isascii() and port.isdigit() and int(port) < 65536
    if not usable or (":" in host) != bracketed:
        raise ValueError(f"{text!r} is not HOST:PORT or [V6]:PORT")
    return host, int(port)

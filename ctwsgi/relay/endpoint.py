# SPDX-License-Identifier: MIT
"""Parses `--listen` and `--upstream` into socket addresses for bind() and connect()."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

from ..wire.address import show, split_endpoint

BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One socket address, as the socket calls take it for `family`."""

    family: int
    sockaddr: Any

    def __str__(self) -> str:
        if self.family == socket.AF_UNIX:
            return f"unix:{self.sockaddr}"
        return show(*self.sockaddr[:2])


def parse_listen(text: str) -> Endpoint:
    """Parses `ADDR:PORT` or `[V6]:PORT`; port 0 means any free port. ValueError."""
    host, port = split_endpoint(text)
    return _resolve(text, host, port, socket.AI_NUMERICHOST)[0]


def parse_upstream(text: str) -> list[Endpoint]:
    """Parses `HOST:PORT`, `[V6]:PORT` or `unix:PATH` to the addresses to try, in that order.

    A host name is resolved here, once. ValueError when that fails.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path:
            raise ValueError(f"{text!r} names no path: write unix:/run/app.sock")
        return [Endpoint(socket.AF_UNIX, path)]
    host, port = split_endpoint(text)
    if not port:
        raise ValueError(f"{text!r} has port 0: nothing can be reached there")
    return _resolve(text, host, port, 0)


def listen(endpoint: Endpoint) -> socket.socket:
    """A listening, non-blocking socket. OSError when the address cannot be bound."""
    sock = socket.socket(endpoint.family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if endpoint.family == socket.AF_INET6:
            # Without it [::]:PORT takes the IPv4 port as well, and 0.0.0.0:PORT cannot bind.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(endpoint.sockaddr)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _resolve(text: str, host: str, port: int, flags: int) -> list[Endpoint]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except (OSError, UnicodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "not a host name"
        raise ValueError(f"{text!r}: {reason}") from None
    return [Endpoint(family, sockaddr) for family, _, _, _, sockaddr in found]

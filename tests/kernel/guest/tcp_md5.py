# SPDX-License-Identifier: MIT
"""TCP-MD5 (RFC 2385): the kernel signs every segment of a socket."""

from __future__ import annotations

from contextlib import suppress
from socket import AF_INET, IPPROTO_TCP
from socket import socket as Socket

TCP_MD5SIG_EXT = 32


def sign(sock: Socket, family: int) -> None:
    """Signs all that the socket sends from now on, to any peer."""
    address = int(family).to_bytes(2, "little").ljust(128, b"\0")
    # struct tcp_md5sig: address, flags, prefix and key lengths, interface, key
    flags = bytes([1, 0, 4, 0, 0, 0, 0, 0])  # TCP_MD5SIG_FLAG_PREFIX, of length 0
    sock.setsockopt(IPPROTO_TCP, TCP_MD5SIG_EXT, address + flags + b"key!".ljust(80, b"\0"))


def signing_socket() -> Socket:
    """A socket that signs. The caller keeps it open while cases run.

    The kernel rewrites its own code when the first such socket is made, and again a second after
    the last one was closed (the static key tcp_md5_needed). Beside traffic, QEMU may execute such
    an instruction half written, and the guest dies with `Oops: int3`.
    """
    sock = Socket(AF_INET)
    with suppress(OSError):  # a kernel without TCP-MD5 rewrites nothing
        sign(sock, AF_INET)
    return sock

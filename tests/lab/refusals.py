# SPDX-License-Identifier: MIT
"""The refusals that the demo shows: of dials past the guard, and of forged headers.

Each check begins with the attempt that must succeed. Otherwise a server that is down, or one that
refuses everybody, would pass.
"""

from __future__ import annotations

import errno
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import nullcontext

from ctwsgi.origin import Address
from ctwsgi.wire.auth import Key
from ctwsgi.wire.proxy import encode_v1, encode_v2

from .legs import Mismatch, Service
from .node import Node
from .rules import Table, dnat, guard, redirect
from .topology import draw_destination
from .wait import receive, until

_REQUEST = b"GET /json HTTP/1.1\r\nHost: forged\r\nConnection: close\r\n\r\n"
_LONG_AGO = 3600
"""Seconds; the server accepts headers that are up to 300 s old."""


def forgeries(key: Key) -> dict[str, Callable[[Address, Address], bytes]]:
    """For each reason that the server must give, the header that causes it, made of src and dst."""
    wrong = Key(key.id, secrets.token_bytes(32))
    unknown = Key((key.id + 1) % 256, key.secret)
    return {
        "auth-missing": lambda src, dst: encode_v2(src, dst),
        "auth-tag": lambda src, dst: encode_v2(src, dst, key=wrong),
        "auth-key-id": lambda src, dst: encode_v2(src, dst, key=unknown),
        "auth-time": lambda src, dst: encode_v2(src, dst, key=key, now=time.time() - _LONG_AGO),
        "auth-v1": lambda src, dst: encode_v1(src, dst),
    }


def refuses_forgery(service: Service, key: Key, reason: str) -> None:
    """The gateway sends the forgery. The server trusts its address, so only the tag can tell."""
    src, dst = (service.lab.client.address(), 40000), draw_destination(4)
    gateway = service.lab.gateway
    _accepts(service, gateway, encode_v2(src, dst, key=key))
    _refuses(service, gateway, forgeries(key)[reason](src, dst), reason)


def refuses_stranger(service: Service, key: Key) -> None:
    """The client, which --trust does not list, sends a header with a good tag."""
    lab = service.lab
    header = encode_v2((lab.client.address(), 40000), draw_destination(4), key=key)
    _accepts(service, lab.gateway, header)
    _refuses(service, lab.client, header, "untrusted-peer")


def _accepts(service: Service, sender: Node, header: bytes) -> None:
    if b" 200 OK\r\n" not in _send(service, sender, header):
        raise Mismatch("the server did not answer after a good header either")


def _refuses(service: Service, sender: Node, header: bytes, reason: str) -> None:
    before = len(service.server.log())
    answer = _send(service, sender, header)
    if answer:
        raise Mismatch(f"answered: {answer[:100]!r}")
    service.server.wait_log(f"origin refused: {reason}", since=before)


def _send(service: Service, sender: Node, header: bytes) -> bytes:
    """Everything that the server answers to this header and a request, until it closes."""
    with sender.connect(service.address(4)) as sock:
        answer = b""
        try:
            sock.sendall(header + _REQUEST)
            while data := receive(sock, 65536):
                answer += data
        except (ConnectionResetError, BrokenPipeError):
            pass  # a server that refuses may close before it has read the request
        return answer


def guard_at_server(service: Service, standing: bool = True) -> None:
    """REDIRECT and guard on the server (docs/threat-model.md#the-guard)."""
    server = service.lab.server
    _check_guard(service, server, redirect(service.port), "input", standing)


def guard_at_gateway(service: Service, standing: bool = True) -> None:
    """DNAT and guard on the gateway."""
    translation = dnat(service.address(4), service.address(6))
    _check_guard(service, service.lab.gateway, translation, "forward", standing)


def _check_guard(
    service: Service, node: Node, translation: Table, hook: str, standing: bool
) -> None:
    """Translated connections pass. A direct SYN gets no answer while the guard is loaded; without
    the guard it is answered.

    With `standing` False the guard is never loaded, which shows that this check can fail.
    """
    client, rule = service.lab.client, guard(service.port, hook)
    for version in (4, 6):
        with node.rules(translation), node.rules(rule) if standing else nullcontext():
            client.connect(draw_destination(version)).close()
            if _is_answered(
                client, service.address(version), lambda: standing and node.dropped(rule)
            ):
                raise Mismatch("the direct SYN was answered")
        client.connect(service.address(version)).close()


def _is_answered(client: Node, address: tuple[str, int], dropped: Callable[[], int]) -> bool:
    """Dials, and waits until the SYN is answered or the guard has counted it."""
    with client.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as sock:
        sock.setblocking(False)
        if sock.connect_ex(address) not in (0, errno.EINPROGRESS):
            raise Mismatch("could not dial at all")
        until(lambda: _has_answer(sock) or dropped(), "an answer, or a count in the guard")
        return _has_answer(sock)


def _has_answer(sock: socket.socket) -> bool:
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        return True  # an RST is an answer, too
    try:
        sock.getpeername()
    except OSError:
        return False
    return True

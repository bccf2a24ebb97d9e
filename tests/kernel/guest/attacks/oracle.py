# SPDX-License-Identifier: MIT
"""The check of every connection that the listener accepted.

Its stream is empty, or it begins with exactly what the injector writes for the true client and the
true original destination. Each further byte is one that the client has sent at this place of the
stream; where it sent several, any of them is right.
"""

from __future__ import annotations

from collections.abc import Iterable

from ctwsgi.errors import OriginError
from ctwsgi.wire import proxy
from ctwsgi.wire.auth import KeyRing
from ctwsgi.wire.ctframe import FrameDecoder, frame_header
from tests.kernel.guest.injector import InjectorUnderTest
from tests.kernel.guest.judge import Failure, require
from tests.kernel.guest.places import Address

from .peer import Peer
from .server import Accepted

PLAIN = {4: 28, 6: 52}
"""The length of an unsigned header, by IP version."""

AUTH = 25
"""The length of the signature's TLV."""

TRANSLATED = {4: 9, 6: 21}
"""The length of the translated source's TLV, by IP version."""


def header_size(version: int, keys: KeyRing | None) -> int:
    """How many sequence numbers the header takes."""
    return PLAIN[version] + (AUTH if keys else 0)


def judge(
    accepted: Iterable[Accepted],
    peers: dict[int, Peer],
    injector: InjectorUnderTest,
    keys: KeyRing | None,
) -> None:
    """Raises a Failure with the stream's first bytes when a connection is wrong."""
    for connection in accepted:
        peer = peers.get(connection.peer[1])
        # When an attacker occupies the NAT mapping of a port, NAT chooses another port.
        candidates = [peer] if peer else [*peers.values()]
        reasons = {_reason(connection, peer, injector, keys) for peer in candidates}
        if reasons and "" not in reasons:
            shown = bytes(connection.received[:64])
            raise Failure(f"FORGED: the stream begins with {shown!r}: {' or '.join(reasons)}")


def _reason(
    connection: Accepted, peer: Peer, injector: InjectorUnderTest, keys: KeyRing | None
) -> str:
    """Why the stream cannot be this peer's; empty when it can."""
    try:
        payload = _payload(bytes(connection.received), peer, connection.peer, injector, keys)
        require(_was_sent(payload, peer), "payload that the client has not sent there")
    except (OriginError, Failure) as e:
        return str(e)
    return ""


def _payload(
    stream: bytes, peer: Peer, seen_as: Address, injector: InjectorUnderTest, keys: KeyRing | None
) -> bytes:
    """The payload after the header, or in the frames. Failure or OriginError when it is wrong."""
    if not stream:
        return b""
    if injector.name == "ctframe":
        expected = frame_header(peer.original, 1)[:6]
        require(stream[:6] == expected[: len(stream)], "not a frame for the true destination")
        return FrameDecoder().feed(stream)
    version = 6 if ":" in peer.source[0] else 4
    found = proxy.decode(stream, versions=(2,), keys=keys)
    require(found, "no whole header")
    assert found
    header, size = found
    require(header.dst == peer.original, f"original destination {header.dst}")
    require(header.src == peer.source, f"client {header.src}")
    expected_size = header_size(version, keys) + (TRANSLATED[version] if header.translated else 0)
    require(size == expected_size, f"a header of {size} bytes")
    require(header.translated in (None, seen_as), f"translated to {header.translated}")
    return stream[size:]


def _was_sent(payload: bytes, peer: Peer) -> bool:
    return any(_matches(payload, peer, isn) for isn in peer.isns)


def _matches(payload: bytes, peer: Peer, isn: int) -> bool:
    missing = set(range(len(payload)))
    for segment in peer.sent:
        at = (segment.seq + ("S" in segment.flags) - isn - 1) % 2**32
        at -= 2**32 if at >= 2**31 else 0
        for offset in range(max(at, 0), min(at + len(segment.data), len(payload))):
            if payload[offset] == segment.data[offset - at]:
                missing.discard(offset)
        if not missing:
            break
    return not missing

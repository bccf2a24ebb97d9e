# SPDX-License-Identifier: MIT
"""The PROXY protocol, versions 1 and 2 (haproxy's proxy-protocol.txt; docs/wire-formats.md).

`decode` tells the versions apart by their signatures. It returns the header and its length, raises
OriginError, or returns None while the header is incomplete. It does not read behind the header.
"""

from __future__ import annotations

from collections.abc import Collection

from ..errors import OriginError, Reason
from .auth import KeyRing
from .header import MAX_HEADER, Command, Header, Transport
from .proxy_v1 import decode_v1, encode_v1
from .proxy_v2 import Buffer, decode_v2, encode_local, encode_v2

__all__ = [
    "MAX_HEADER",
    "Command",
    "Header",
    "Transport",
    "decode",
    "decode_datagram",
    "encode_local",
    "encode_v1",
    "encode_v2",
]

_CR, _P = 0x0D, 0x50


def decode(
    data: Buffer,
    *,
    versions: Collection[int] = (1, 2),
    max_size: int = MAX_HEADER,
    transport: Transport = Transport.STREAM,
    keys: KeyRing | None = None,
    window: int = 300,
    now: float | None = None,
) -> tuple[Header, int] | None:
    """The header at the start of `data`, and its length in bytes; None while it is incomplete.

    `data` is the stream from its first byte on; after None, call again with more of it. `max_size`
    bounds a header in bytes. `transport` is the listener's; the addresses of a header for another
    transport are not used. With `keys`, a header without a valid tag is refused; `window` (seconds,
    0 = off) is how far its time may be from `now` (Unix seconds, default: the clock's). OriginError
    is raised at the first byte that cannot belong to an acceptable header.
    """
    if not data:
        return None
    first = data[0]
    if first == _CR and 2 in versions:
        return decode_v2(data, max_size, transport, keys, window, now)
    if first != _P:
        raise OriginError(Reason.NO_HEADER)
    if 1 not in versions:
        raise OriginError(Reason.V1_NOT_ACCEPTED)
    return decode_v1(data, max_size, transport, keyed=keys is not None)


def decode_datagram(
    datagram: bytes,
    *,
    max_size: int = MAX_HEADER,
    keys: KeyRing | None = None,
    window: int = 300,
    now: float | None = None,
) -> tuple[Header, bytes]:
    """The header and the payload of one UDP datagram. Only version 2 knows UDP.

    OriginError as from `decode`, and EOF_IN_HEADER when the datagram ends inside its header.
    """
    found = decode(
        datagram,
        versions=(2,),
        max_size=max_size,
        transport=Transport.DGRAM,
        keys=keys,
        window=window,
        now=now,
    )
    if found is None:
        raise OriginError(Reason.EOF_IN_HEADER, f"a datagram of {len(datagram)} bytes")
    header, consumed = found
    return header, datagram[consumed:]

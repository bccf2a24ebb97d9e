# SPDX-License-Identifier: MIT
"""What a PROXY header says, whichever version said it. The values are those of the v2 nibbles."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum

from ..origin import Address
from .tlv import Tlvs

MAX_HEADER = 4096
"""Bytes that a header may have unless the caller says otherwise; v1 has its own 107."""


class Command(IntEnum):
    """LOCAL: the sender speaks for itself (a health check). PROXY: it speaks for a client."""

    LOCAL = 0
    PROXY = 1


class Transport(IntEnum):
    """The low nibble of v2's family byte."""

    UNSPEC = 0
    STREAM = 1
    DGRAM = 2


@dataclass(frozen=True, slots=True)
class Header:
    """A complete header that was found acceptable."""

    version: int
    """1 or 2."""
    command: Command
    src: Address | None
    """The client. None, as `dst`, where the connection's own endpoints stand: LOCAL, UNSPEC,
    UNKNOWN, AF_UNIX, another transport than the listener's."""
    dst: Address | None
    """The original destination."""
    tlvs: Tlvs = ()
    """(type, value) pairs, raw, in their order; not read for LOCAL and an unspecified family."""
    auth: int | None = None
    """The id of the key whose tag verified; None when no keys were given."""

    def __init__(
        self,
        version: int,
        command: Command,
        src: Address | None,
        dst: Address | None,
        tlvs: Tlvs = (),
        auth: int | None = None,
    ) -> None:
        # Half the time of the generated one, which looks every slot up by name through object's
        # __setattr__; a third of a plain header's decoding went there.
        _set_version(self, version)
        _set_command(self, command)
        _set_src(self, src)
        _set_dst(self, dst)
        _set_tlvs(self, tlvs)
        _set_auth(self, auth)


_set_version, _set_command, _set_src, _set_dst, _set_tlvs, _set_auth = (
    vars(Header)[each.name].__set__ for each in fields(Header)
)

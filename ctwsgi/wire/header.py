# SPDX-License-Identifier: MIT
"""A PROXY header of either version. The enum values are those of version 2."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum

from ..origin import Address
from .tlv import Tlvs

MAX_HEADER = 4096
"""The default bound on a header's size in bytes; a v1 header has at most 107."""


class Command(IntEnum):
    """LOCAL: the connection is the sender's own (a health check). PROXY: it carries a client's."""

    LOCAL = 0
    PROXY = 1


class Transport(IntEnum):
    """The low nibble of v2's family byte."""

    UNSPEC = 0
    STREAM = 1
    DGRAM = 2


@dataclass(frozen=True, slots=True)
class Header:
    """A complete header that was accepted."""

    version: int
    """1 or 2."""
    command: Command
    src: Address | None
    """The client. `src` and `dst` are None where the connection's own addresses apply: LOCAL,
    UNSPEC, UNKNOWN, AF_UNIX, another transport than the listener's."""
    dst: Address | None
    """The original destination."""
    tlvs: Tlvs = ()
    """(type, value) pairs, raw, in the header's order; empty for LOCAL and UNSPEC."""
    auth: int | None = None
    """The id of the key whose tag was verified; None when no keys were given."""
    translated: Address | None = None
    """The source that the server sees, where a verified header says that NAT changed it."""

    def __init__(
        self,
        version: int,
        command: Command,
        src: Address | None,
        dst: Address | None,
        tlvs: Tlvs = (),
        auth: int | None = None,
        translated: Address | None = None,
    ) -> None:
        # Takes half the time of the generated __init__, which calls object.__setattr__ for each
        # slot; that was a third of the time to decode a plain header.
        _set_version(self, version)
        _set_command(self, command)
        _set_src(self, src)
        _set_dst(self, dst)
        _set_tlvs(self, tlvs)
        _set_auth(self, auth)
        _set_translated(self, translated)


(
    _set_version,
    _set_command,
    _set_src,
    _set_dst,
    _set_tlvs,
    _set_auth,
    _set_translated,
) = (vars(Header)[each.name].__set__ for each in fields(Header))

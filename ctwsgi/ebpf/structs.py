# SPDX-License-Identifier: MIT
"""The structs and counters of kmod/bpf/settings.h and counters.h.

Ports and addresses are in network byte order, all other numbers in the machine's.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from enum import IntEnum

from ..origin import Address
from ..wire.auth import Key

COUNTERS = (
    "flows_opened",
    "flows_closed",
    "entries_made",
    "entries_gone",
    "ctproxy_headers",
    "ctproxy_headers_again",
    "udp_ctproxy",
    "untouched",
    "existing",
    "options_cleared",
    "swallowed",
    "cookies_spoiled",
    "icmp_corrected",
    "drop_untracked",
    "drop_one_armed",
    "drop_no_syn",
    "drop_early",
    "drop_below",
    "drop_ack",
    "drop_behind_fin",
    "drop_synack",
    "drop_signature_option",
    "drop_flow_limit",
    "drop_fragment",
    "drop_no_key",
    "drop_build",
    "drop_malformed",
    "drop_mtu",
    "drop_gso",
    "drop_unloading",
)
"""In the program's order."""

BACKENDS_MAX = 4096
UDP_PORTS_MAX = 1024
"""As in kmod/bpf/datagram.h."""


class Selection(IntEnum):
    """Which translated connections get a header."""

    TRANSLATED = 0
    MARK = 1
    BACKENDS = 2


_SETTINGS = struct.Struct("=7Ii3I")
_KEY = struct.Struct("=IBB32s2x")
_BACKEND = struct.Struct("=16s2sH")


@dataclass(frozen=True)
class Settings:
    """`struct settings` of kmod/bpf/settings.h, which explains the members."""

    link_header: int = 14
    selection: Selection = Selection.TRANSLATED
    mark: int = 0
    mask: int = 0
    one_armed: bool = False
    pass_existing: bool = False
    signed: bool = False
    tai_offset: int = 0
    closing: bool = False
    sweep: int = 30_000
    """Milliseconds."""
    owns_qdisc: bool = False

    def pack(self) -> bytes:
        """The bytes of the map's value."""
        return _SETTINGS.pack(
            self.link_header,
            self.selection,
            self.mark,
            self.mask,
            self.one_armed,
            self.pass_existing,
            self.signed,
            self.tai_offset,
            self.closing,
            self.sweep,
            self.owns_qdisc,
        )

    @classmethod
    def unpack(cls, data: bytes) -> Settings:
        """The settings of a map's value. ValueError when another version wrote it."""
        if len(data) != _SETTINGS.size:
            raise ValueError("settings of another version")
        link, selection, mark, mask, *flags = _SETTINGS.unpack(data)
        one_armed, existing, signed, tai, closing, sweep, owns = flags
        return cls(
            link,
            Selection(selection),
            mark,
            mask,
            bool(one_armed),
            bool(existing),
            bool(signed),
            tai,
            bool(closing),
            sweep,
            bool(owns),
        )


def pack_key(key: Key | None) -> bytes:
    """`struct signing_key`, with zeros for its lock. None: there is no key."""
    if key is None:
        return _KEY.pack(0, 0, 0, b"")
    return _KEY.pack(0, key.id, len(key.secret), key.secret)


def unpack_key_id(data: bytes) -> int | None:
    """The id of the key in a `struct signing_key`; None when there is no key."""
    _, number, length, _ = _KEY.unpack(data)
    return number if length else None


def pack_backend(address: Address) -> bytes:
    """`struct backend`. ValueError when the host is no address."""
    host = ipaddress.ip_address(address[0])
    return _BACKEND.pack(host.packed, address[1].to_bytes(2, "big"), host.version)


def pack_port(port: int) -> bytes:
    """The key of a port in `udp_ports`."""
    return port.to_bytes(2, "big")


def unpack_port(data: bytes) -> int:
    """The port of a key of `udp_ports`."""
    return int.from_bytes(data, "big")


def unpack_backend(data: bytes) -> Address:
    """The address in a `struct backend`."""
    packed, port, version = _BACKEND.unpack(data)
    host = ipaddress.ip_address(packed[: 4 if version == 4 else 16])
    return str(host), int.from_bytes(port, "big")

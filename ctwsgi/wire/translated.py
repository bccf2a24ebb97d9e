# SPDX-License-Identifier: MIT
"""The TLV for a translated source (0xE8) of a signed PROXY v2 header.

NAT may change the client's address or port on the way to the server: a masquerade does, and so does
conntrack when one client port has two original destinations that lead to one server. The header's
own source is the client's; this TLV has the source that the server sees. The format is described
in docs/wire-formats.md#translated-source-tlv-type-0xe8.
"""

from __future__ import annotations

from ..errors import OriginError, Reason
from ..origin import Address
from .address import host_text, pack_host
from .tlv import TRANSLATED_SOURCE, Tlvs


def pack_source(source: Address) -> bytes:
    """The TLV's value: 4 or 16 bytes of address, 2 bytes of port, network order."""
    return pack_host(source[0]) + source[1].to_bytes(2, "big")


def translated_source(tlvs: Tlvs, size: int) -> Address | None:
    """The translated source, None without the TLV. Call it for a verified header only.

    `size` is the length of the header's own addresses, 4 or 16. OriginError (BAD_TLV) when the TLV
    is there twice or has another length.
    """
    values = [value for kind, value in tlvs if kind == TRANSLATED_SOURCE]
    if not values:
        return None
    if len(values) > 1 or len(values[0]) != size + 2:
        raise OriginError(
            Reason.BAD_TLV, f"type 0x{TRANSLATED_SOURCE:02x}: not one value of {size + 2} bytes"
        )
    (value,) = values
    return host_text(value[:size]), int.from_bytes(value[size:], "big")

# SPDX-License-Identifier: MIT
"""Prints `ADDRESS SECONDS` for each IPv4 address that comes into a gateway's set back4.

    python -m bench.portal.observer TABLE

It runs in the gateway's namespace. The attributes are those of linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

from ctwsgi_portal.gateway.netlink import attributes

from .announced import announced

_NEWSETELEM = 10 << 8 | 12
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_KEY, _VALUE = 1, 1


def addresses(message: bytes, table: str) -> Iterator[str]:
    """The addresses in a NEWSETELEM message without its two headers."""
    found = dict(attributes(message))
    if found.get(_LIST_TABLE) != table.encode() + b"\0" or found.get(_LIST_SET) != b"back4\0":
        return
    for _, element in attributes(found.get(_LIST_ELEMENTS, b"")):
        key = dict(attributes(dict(attributes(element)).get(_KEY, b""))).get(_VALUE, b"")
        if len(key) == 4:
            yield socket.inet_ntop(socket.AF_INET, key)


def main(table: str) -> None:
    for kind, message, now in announced():
        if kind == _NEWSETELEM:
            for address in addresses(message[4:], table):
                print(address, f"{now:.6f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])

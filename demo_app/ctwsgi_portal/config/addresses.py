# SPDX-License-Identifier: MIT
"""Reads addresses and networks of the configuration. ValueError says what to write."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_address

from ctwsgi.loops import parse_self
from ctwsgi.trust import parse_network

IPNetwork = IPv4Network | IPv6Network
Endpoint = tuple[str, int]
"""Address and port."""

MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
"""A MAC address in lower case."""


def read_endpoint(word: str) -> Endpoint:
    """`ADDR:PORT` or `[V6]:PORT`."""
    host, port = parse_self(word)
    if port is None:
        raise ValueError(f"{word!r} lacks a port: write {word}:8080")
    return ip_address(host).compressed, port


def read_network(word: str) -> IPNetwork:
    """A network without host bits, or one address. v4-mapped ones become IPv4, as peers do."""
    try:
        return parse_network(word)
    except ValueError as e:
        raise ValueError(f"{word!r} is not a network like 192.0.2.0/24: {e}") from None


def read_mac(word: str) -> str:
    """In lower case."""
    if not MAC.fullmatch(word.lower()):
        raise ValueError(f"{word!r} is not a MAC address like 02:00:00:12:34:56")
    return word.lower()

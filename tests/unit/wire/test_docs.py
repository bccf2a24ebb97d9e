# SPDX-License-Identifier: MIT
"""docs/wire-formats.md shows the bytes that the encoders write, and lists every reason."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from ctwsgi.wire import ctframe, proxy
from ctwsgi.wire.auth import Key
from ctwsgi.wire.tlv import TRANSLATED_SOURCE
from ctwsgi.wire.translated import pack_source
from tests import ROOT

from .test_reasons import reasons_of_the_codecs

PAGE = (ROOT / "docs" / "wire-formats.md").read_text()
SRC, DST = ("192.0.2.7", 50000), ("198.51.100.1", 8080)
SRC6, DST6 = ("2001:db8::7", 50000), ("2001:db8:1::1", 8080)

EXAMPLES: dict[str, Callable[[], bytes]] = {
    "ctframe-stream": lambda: ctframe.encode_stream(DST, b"GET / HTTP/1.1\r\n", 10),
    "ctframe-datagram": lambda: ctframe.encode_datagram(DST, b"ping"),
    "proxy-v1": lambda: proxy.encode_v1(SRC, DST),
    "proxy-v2-inet": lambda: proxy.encode_v2(SRC, DST),
    "proxy-v2-inet6": lambda: proxy.encode_v2(SRC6, DST6),
    "proxy-v2-local": proxy.encode_local,
    "proxy-v2-signed": lambda: proxy.encode_v2(
        SRC, DST, key=Key(1, bytes(range(32))), now=1_700_000_000, crc32c=True
    ),
    "proxy-v2-translated": lambda: proxy.encode_v2(
        SRC,
        DST,
        tlvs=[(TRANSLATED_SOURCE, pack_source((SRC[0], 61234)))],
        key=Key(1, bytes(range(32))),
        now=1_700_000_000,
    ),
}


def dumped(name: str) -> bytes:
    found = re.search(rf"^```hexdump {name}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"no hexdump {name} on the page"
    return b"".join(bytes.fromhex(line[10:58]) for line in found[1].splitlines())


@pytest.mark.parametrize("name", EXAMPLES)
def test_hexdump(name: str) -> None:
    assert dumped(name) == EXAMPLES[name]()


def test_every_hexdump_is_checked() -> None:
    assert set(re.findall(r"^```hexdump (\S+)$", PAGE, re.MULTILINE)) == set(EXAMPLES)


def test_every_reason_is_on_the_page() -> None:
    rows = PAGE.partition("## Reasons")[2].partition("## Security")[0]
    listed = {
        word
        for row in re.findall(r"^\| (`.*?) \|", rows, re.MULTILINE)
        for word in re.findall(r"`([a-z0-9-]+)`", row)
    }
    assert listed == {reason.value for reason in reasons_of_the_codecs()}

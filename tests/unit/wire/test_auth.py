# SPDX-License-Identifier: MIT
"""The authentication TLV against bytes that this file composes, and the key file."""

from __future__ import annotations

import hashlib
import os
import re
import struct
from pathlib import Path
from typing import Any

import pytest

from ctwsgi.errors import Reason
from ctwsgi.wire import proxy
from ctwsgi.wire.auth import Key, KeyFileError, KeyRing
from ctwsgi.wire.proxy import Transport, encode_v2
from tests import ROOT

from .support import load, outcome

SRC, DST = ("192.0.2.7", 50000), ("198.51.100.1", 80)
VECTORS = load("auth.json")["vectors"]


def by_name(vector: dict[str, Any]) -> str:
    return str(vector["name"])


def test_tag_over_hand_laid_bytes() -> None:
    secret = bytes(range(32))
    before = bytes.fromhex(
        "0d0a0d0a000d0a515549540a 21 11 0025"  # 12 + 25 bytes follow
        "c0000207 c6336401 c350 0050"
        "e7 0016  01 07 6553f100"
    )
    tag = hashlib.blake2s(before + bytes(16), digest_size=16, key=secret).digest()
    assert encode_v2(SRC, DST, key=Key(7, secret), now=0x6553F100) == before + tag


def test_the_module_tests_itself_with_these() -> None:
    source = (ROOT / "kmod" / "ctinject" / "selftest.c").read_text()
    headers = ["".join(re.findall('"([0-9a-f]+)"', part)) for part in source.split(".header =")[1:]]
    names = ("TCP, IPv4", "TCP, IPv4, source translated, behind the tag", "TCP, IPv6")
    by_names = {vector["name"]: vector["header"] for vector in VECTORS}
    assert headers == [by_names[name] for name in names]


def test_digest_length_is_a_parameter() -> None:
    """BLAKE2s depends on the digest length: a truncated 32-byte digest differs."""
    header = encode_v2(SRC, DST, key=Key(7, bytes(32)), now=1)
    blank = header[:-16] + bytes(16)
    assert header[-16:] != hashlib.blake2s(blank, key=bytes(32)).digest()[:16]


@pytest.mark.parametrize("vector", VECTORS, ids=by_name)
def test_vector_is_what_the_design_says(vector: dict[str, Any]) -> None:
    """Checks the file without our codec, because other injectors are checked against it."""
    header = bytearray.fromhex(vector["header"])
    tag, crc = slice(vector["tag_at"], vector["tag_at"] + 16), vector["crc_at"]
    assert header[tag].hex() == vector["tag"]
    value = struct.unpack_from("!BHBBI", header, tag.start - 9)
    assert value == (0xE7, 22, 1, vector["key_id"], vector["time"])
    header[tag] = bytes(16)
    if crc is not None:
        header[crc : crc + 4] = bytes(4)
    key = bytes.fromhex(vector["key"])
    assert hashlib.blake2s(header, digest_size=16, key=key).hexdigest() == vector["tag"]


@pytest.mark.parametrize("vector", VECTORS, ids=by_name)
def test_vector_verifies(vector: dict[str, Any]) -> None:
    header = bytes.fromhex(vector["header"])
    keys = KeyRing([Key(vector["key_id"], bytes.fromhex(vector["key"]))])
    transport = Transport[vector["transport"]]
    found = proxy.decode(header + b"GET", transport=transport, keys=keys, now=vector["time"])
    assert found is not None
    assert found[1] == len(header)
    assert (found[0].src, found[0].dst) == (tuple(vector["src"]), tuple(vector["dst"]))
    assert found[0].auth == vector["key_id"]
    assert found[0].translated == (tuple(vector["translated"]) if "translated" in vector else None)
    unkeyed = proxy.decode(header, transport=transport)
    assert unkeyed is not None
    assert (unkeyed[0].auth, unkeyed[0].translated) == (None, None)
    assert 0xE7 in dict(unkeyed[0].tlvs)


@pytest.mark.parametrize("vector", [v for v in VECTORS if not v.get("decode_only")], ids=by_name)
def test_vector_is_what_we_write(vector: dict[str, Any]) -> None:
    header = encode_v2(
        tuple(vector["src"]),
        tuple(vector["dst"]),
        tlvs=[(kind, bytes.fromhex(value)) for kind, value in vector["tlvs_before"]],
        transport=Transport[vector["transport"]],
        crc32c=vector["crc32c"],
        key=Key(vector["key_id"], bytes.fromhex(vector["key"])),
        now=vector["time"],
    )
    assert header.hex() == vector["header"]


@pytest.mark.parametrize("vector", VECTORS, ids=by_name)
def test_every_bit_counts(vector: dict[str, Any]) -> None:
    header = bytearray.fromhex(vector["header"])
    keys = KeyRing([Key(vector["key_id"], bytes.fromhex(vector["key"]))])
    options = {"keys": keys, "now": vector["time"], "transport": Transport[vector["transport"]]}
    for at in range(len(header)):
        header[at] ^= 0x10
        assert isinstance(outcome(header, **options), Reason | None), f"byte {at}"
        header[at] ^= 0x10
    assert isinstance(outcome(header, **options), tuple)


@pytest.mark.parametrize(
    ("age", "window", "accepted"),
    [(300, 300, True), (-300, 300, True), (301, 300, False), (10**6, 0, True), (0.5, 1, True)],
)
def test_window(age: float, window: int, accepted: bool) -> None:
    key = Key(1, bytes(16))
    header = encode_v2(SRC, DST, key=key, now=1_000_000)
    found = outcome(header, keys=KeyRing([key]), now=1_000_000 + age, window=window)
    assert (found is not Reason.AUTH_TIME) is accepted


def test_clock_is_the_default_on_both_sides() -> None:
    key = Key(1, bytes(16))
    assert isinstance(outcome(encode_v2(SRC, DST, key=key), keys=KeyRing([key])), tuple)


def test_each_key_of_the_ring_is_accepted() -> None:
    keys = KeyRing([Key(3, b"3" * 16), Key(1, b"1" * 16)])
    for key in keys.values():
        found = proxy.decode(encode_v2(SRC, DST, key=key), keys=keys)
        assert found is not None
        assert found[0].auth == key.id
    assert keys.signer().id == 1


def test_a_time_that_no_header_can_hold() -> None:
    for now in (-1, 1 << 32):
        with pytest.raises(ValueError, match="time"):
            encode_v2(SRC, DST, key=Key(1, bytes(16)), now=now)


def test_signing_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="there already"):
        encode_v2(SRC, DST, tlvs=[(0xE7, bytes(22))], key=Key(1, bytes(16)))


def test_a_given_checksum_is_blank_under_the_tag() -> None:
    """A sender may add the checksum after it has signed the header."""
    key = Key(1, bytes(16))
    one = encode_v2(SRC, DST, tlvs=[(3, b"\0\0\0\0")], key=key, now=1)
    two = encode_v2(SRC, DST, tlvs=[(3, b"\1\2\3\4")], key=key, now=1)
    assert one[-16:] == two[-16:]


HEX16 = "000102030405060708090a0b0c0d0e0f"
HEX32 = HEX16 * 2


def test_parse() -> None:
    ring = KeyRing.parse(f"# keys of the lab\n\n  7\t{HEX32.upper()}\r\n255 {HEX16}\n   # end\n")
    assert dict(ring) == {7: Key(7, bytes.fromhex(HEX32)), 255: Key(255, bytes.fromhex(HEX16))}
    assert len(ring) == 2
    assert ring.get(7) == Key(7, bytes.fromhex(HEX32))
    assert ring.get(8) is None
    assert ring.signer().id == 7


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "keys: no key"),
        ("# nothing\n", "keys: no key"),
        (f"1 {HEX16}\n1 {HEX32}\n", "keys:2: key id 1 is there twice"),
        (f"\n256 {HEX16}", "keys:2: a key's id is 0..255"),
        (f"-1 {HEX16}", "keys:1: a key's id is 0..255"),
        (f"+1 {HEX16}", "keys:1: a key's id is 0..255"),
        (f"1_0 {HEX16}", "keys:1: a key's id is 0..255"),
        (f"0x1 {HEX16}", "keys:1: a key's id is 0..255"),
        (f"\N{ARABIC-INDIC DIGIT ONE} {HEX16}", "keys:1: a key's id is 0..255"),
        (f"0001 {HEX16}", "keys:1: a key's id is 0..255"),
        (HEX16, "keys:1: a line is `ID HEX`"),
        (f"1 {HEX16} more", "keys:1: a line is `ID HEX`"),
        (f"1 {HEX16[:-2]}", "keys:1: a key is 16 to 32 bytes"),
        (f"1 {HEX32}ff", "keys:1: a key is 16 to 32 bytes"),
        (f"1 {HEX16}f", "keys:1: the key is not pairs of hex digits"),
        (f"1 {HEX16[:-2]}zz", "keys:1: the key is not pairs of hex digits"),
    ],
)
def test_parse_refuses(text: str, complaint: str) -> None:
    with pytest.raises(KeyFileError) as caught:
        KeyRing.parse(text)
    assert str(caught.value).startswith(complaint)
    assert HEX16[:-2] not in str(caught.value), "a key must not reach a log"


def test_load(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"1 {HEX16}\n")
    for mode in (0o600, 0o400):
        path.chmod(mode)
        assert KeyRing.load(path).signer() == Key(1, bytes.fromhex(HEX16))
    for mode in (0o640, 0o604, 0o660, 0o601):
        path.chmod(mode)
        with pytest.raises(KeyFileError, match=f"mode is {mode:04o}, must be 0600"):
            KeyRing.load(path)


def test_load_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.touch(0o600)
    path.write_text("1 zz\n")
    with pytest.raises(KeyFileError, match=rf"^{path}:1: "):
        KeyRing.load(os.fspath(path))
    path.write_bytes(b"1 \xff\n")
    with pytest.raises(KeyFileError, match="not ASCII"):
        KeyRing.load(path)
    with pytest.raises(KeyFileError, match="No such file"):
        KeyRing.load(tmp_path / "absent")
    with pytest.raises(KeyFileError, match="directory"):
        KeyRing.load(tmp_path)


def test_keys_do_not_show() -> None:
    ring = KeyRing([Key(1, b"not to be seen!!")])
    for text in (repr(ring), repr(ring.signer()), str(ring[1])):
        assert "seen" not in text
    assert repr(ring) == "KeyRing(ids=[1])"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Key(256, bytes(16)),
        lambda: Key(-1, bytes(16)),
        lambda: Key(1, bytes(15)),
        lambda: Key(1, bytes(33)),
        lambda: KeyRing([]),
        lambda: KeyRing([Key(1, bytes(16)), Key(1, bytes(17))]),
    ],
)
def test_keys_that_cannot_be(make: Any) -> None:
    with pytest.raises(ValueError, match=r"key"):
        make()

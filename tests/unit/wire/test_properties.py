# SPDX-License-Identifier: MIT
"""For generated streams and splits, the decoders return what was encoded, and nothing else."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from ctwsgi.errors import OriginError, Reason
from ctwsgi.wire import ctframe, proxy
from ctwsgi.wire.address import host_text
from ctwsgi.wire.auth import Key, KeyRing
from ctwsgi.wire.ctframe import FrameDecoder
from ctwsgi.wire.proxy import Command, Header, Transport

from .support import load, outcome, outcome_in_pieces

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
NOW = 1_700_000_000
KEY = Key(1, b"k" * 16)
KEYS = KeyRing([KEY])

ports = st.integers(0, 65535)
v4_hosts = st.binary(min_size=4, max_size=4).map(lambda raw: str(IPv4Address(raw)))
v6_hosts = st.binary(min_size=16, max_size=16).map(lambda raw: str(IPv6Address(raw)))
v4 = st.tuples(v4_hosts, ports)
address = st.tuples(st.one_of(v4_hosts, v6_hosts), ports)
cuts = st.lists(st.integers(0, 200), max_size=12)
tlvs = st.lists(
    st.tuples(
        st.integers(0, 255).filter(lambda kind: kind not in (3, 0xE7, 0xE8)), st.binary(max_size=40)
    ),
    max_size=4,
).map(tuple)


def canonical(pair: tuple[str, int]) -> tuple[str, int]:
    host, port = pair
    return host_text((IPv6Address if ":" in host else IPv4Address)(host).packed), port


def pieces(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(data)) for cut in at), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def unframed(parts: list[bytes]) -> tuple[bytes, Any] | Reason:
    """Payload and destination from a receiver with one reused buffer, or the refusal."""
    decoder, buffer, payload = FrameDecoder(), bytearray(4096), b""
    try:
        for part in parts:
            buffer[: len(part)] = part
            size = decoder.strip(buffer, len(part))
            assert 0 <= size <= len(part)
            payload += buffer[:size]
        decoder.eof()
    except OriginError as e:
        return e.reason
    return payload, decoder.destination


@given(v4, st.binary(max_size=400), st.integers(1, 120), cuts)
def test_frames_come_out_however_split(
    destination: tuple[str, int], payload: bytes, frame_size: int, at: list[int]
) -> None:
    stream = ctframe.encode_stream(destination, payload, frame_size)
    assert unframed(pieces(stream, at)) == (payload, destination if payload else None)


@given(v4, st.binary(min_size=1, max_size=40), st.integers(1, 9))
def test_frames_come_out_of_single_bytes(
    destination: tuple[str, int], payload: bytes, frame_size: int
) -> None:
    stream = ctframe.encode_stream(destination, payload, frame_size)
    assert unframed([stream[i : i + 1] for i in range(len(stream))]) == (payload, destination)


@given(v4, st.lists(st.binary(max_size=30), max_size=6), st.binary(max_size=40), cuts)
def test_frames_of_any_bytes_end_the_same_however_split(
    destination: tuple[str, int], payloads: list[bytes], garbage: bytes, at: list[int]
) -> None:
    stream = b"".join(ctframe.encode_stream(destination, each) for each in payloads) + garbage
    assert unframed(pieces(stream, at)) == unframed([stream])


@given(v4, st.binary(max_size=100))
def test_datagrams(destination: tuple[str, int], payload: bytes) -> None:
    datagram = ctframe.encode_datagram(destination, payload)
    assert ctframe.decode_datagram(datagram) == (destination, payload)


@given(address, address, cuts, st.binary(max_size=30))
@example(("::ffff:1.2.3.4", 0), ("::", 65535), [], b"")
@example(("::1.2.3.4", 0), ("1.2.3.4", 65535), [], b"\n")
def test_v1_comes_out_however_split(
    src: tuple[str, int], dst: tuple[str, int], at: list[int], tail: bytes
) -> None:
    line = proxy.encode_v1(src, dst)
    expected = Header(1, Command.PROXY, canonical(src), canonical(dst)), len(line)
    data = line + tail
    assert outcome_in_pieces(data, (min(cut, len(data)) for cut in at))[0] == expected


@given(
    address,
    address,
    tlvs,
    st.sampled_from([Transport.STREAM, Transport.DGRAM]),
    st.booleans(),
    st.booleans(),
    cuts,
    st.binary(max_size=30),
)
def test_v2_comes_out_however_split(
    src: tuple[str, int],
    dst: tuple[str, int],
    given_tlvs: tuple[tuple[int, bytes], ...],
    transport: Transport,
    crc32c: bool,
    signed: bool,
    at: list[int],
    tail: bytes,
) -> None:
    key = KEY if signed else None
    header = proxy.encode_v2(
        src, dst, tlvs=given_tlvs, transport=transport, crc32c=crc32c, key=key, now=NOW
    )
    options = {"transport": transport, "keys": KEYS if signed else None, "now": NOW}
    data = header + tail
    found, _ = outcome_in_pieces(data, (min(cut, len(data)) for cut in at), **options)
    assert isinstance(found, tuple)
    decoded, consumed = found
    assert consumed == len(header)
    assert (decoded.src, decoded.dst) == (canonical(src), canonical(dst))
    assert decoded.tlvs[: len(given_tlvs)] == given_tlvs
    assert len(decoded.tlvs) == len(given_tlvs) + signed + crc32c
    assert decoded.auth == (KEY.id if signed else None)


@given(tlvs, st.booleans())
def test_local_comes_out(given_tlvs: tuple[tuple[int, bytes], ...], crc32c: bool) -> None:
    header = proxy.encode_local(tlvs=given_tlvs, crc32c=crc32c)
    assert proxy.decode(header + b"x") == (Header(2, Command.LOCAL, None, None), len(header))


def options() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "versions": st.sampled_from([(1, 2), (1,), (2,)]),
            "transport": st.sampled_from([Transport.STREAM, Transport.DGRAM]),
            "keys": st.sampled_from([None, KEYS]),
            "max_size": st.sampled_from([20, 50, 107, 536, 4096]),
            "now": st.just(NOW),
        }
    )


def nearly_v2() -> st.SearchStrategy[bytes]:
    """Headers whose fields have few values, so that some of them are valid."""
    return st.builds(
        lambda cut, command, family, length, body: (
            SIGNATURE[:cut] + bytes((command, family)) + length.to_bytes(2, "big") + body
        ),
        st.sampled_from([12, 12, 12, 12, 11, 5]),
        st.sampled_from([0x20, 0x21, 0x21, 0x21, 0x22, 0x11]),
        st.sampled_from([0, 0x11, 0x11, 0x12, 0x21, 0x22, 0x31, 0x10, 0x41, 0x13]),
        st.one_of(st.integers(0, 60), st.integers(0, 65535)),
        st.binary(max_size=90),
    )


def nearly_v1() -> st.SearchStrategy[bytes]:
    words = st.sampled_from(
        b"PROXY,TCP4,TCP6,UNKNOWN, ,  ,\r\n,\r,\n,"
        b"1.2.3.4,::1,::ffff:1.2.3.4,80,65536,01,x,\xff".split(b",")
    )
    line = st.lists(words, max_size=9).map(b" ".join)
    return st.builds(
        lambda rest, filling, tail: b"PROXY " + rest + b"1" * filling + tail,
        line,
        st.integers(0, 107),
        st.one_of(st.just(b"\r\n"), st.binary(max_size=20)),
    )


def vectors() -> st.SearchStrategy[bytes]:
    """Signed and foreign headers with one byte changed."""
    headers = [bytes.fromhex(v["header"]) for v in load("auth.json")["vectors"]]
    headers += [bytes.fromhex(v["hex"]) for v in load("haproxy.json")["vectors"]]
    headers.append(proxy.encode_v2(("::1", 1), ("::2", 2), crc32c=True, key=KEY, now=NOW))
    return st.builds(
        lambda header, at, value: header[:at] + bytes([value]) + header[at + 1 :],
        st.sampled_from(headers),
        st.integers(0, 100),
        st.integers(0, 255),
    )


hostile = st.one_of(st.binary(max_size=120), nearly_v2(), nearly_v1(), vectors())


@given(hostile, options(), cuts)
def test_any_bytes_end_the_same_however_split(
    data: bytes, chosen: dict[str, Any], at: list[int]
) -> None:
    """They raise nothing but OriginError: outcome() catches no other exception."""
    whole = outcome(data, **chosen)
    assert outcome_in_pieces(data, (min(cut, len(data)) for cut in at), **chosen)[0] == whole
    assert outcome(memoryview(bytearray(data)), **chosen) == whole


@given(hostile, options(), st.binary(max_size=20))
def test_nothing_behind_a_header_matters(data: bytes, chosen: dict[str, Any], tail: bytes) -> None:
    found = outcome(data, **chosen)
    if isinstance(found, tuple):
        consumed = found[1]
        assert 0 < consumed <= min(len(data), chosen["max_size"])
        assert outcome(data[:consumed] + tail, **chosen) == found
        assert outcome(data[: consumed - 1], **chosen) is None

# SPDX-License-Identifier: MIT
"""A sample has a fault unless all of its connections did what its side should do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ctwsgi.wire.auth import KeyRing
from ctwsgi.wire.ctframe import encode_stream
from ctwsgi.wire.proxy import encode_v2

from .gateway import KEY
from .plan import SIDES, WORKLOADS
from .sample import Sample

CLIENT, DIALLED = ("10.62.1.2", 40000), ("198.18.0.1", 80)


def taken(side: str, cost: int, number: int = 0, head: bytes = b"r" * 96) -> Sample:
    """A sample of `connect`, all of whose connections begin with `head`."""
    return Sample(
        SIDES[side],
        WORKLOADS["connect"],
        ticks=cost * 1000,
        idle=0,
        sent=1000,
        received=256_000,
        packets=10_000,
        counters={},
        server={"connections": 1100, "bytes": 1100 * 128, "head": head.hex()},
        round=number,
    )


def beginning(written: bytes) -> Sample:
    """A sample of ctproxy whose connections begin with `written`."""
    sample = taken("ctproxy", 1, head=written + b"rrrr")
    return replace(sample, server={**sample.server, "bytes": 1100 * (128 + len(written))})


def test_a_sample_that_did_its_work_has_no_fault() -> None:
    assert not taken("plain", 1).fault
    assert not beginning(encode_v2(CLIENT, DIALLED)).fault


@pytest.mark.parametrize(
    "sample",
    [
        replace(taken("plain", 1), idle=10),
        replace(taken("plain", 1), received=255_999),
        replace(taken("plain", 1), counters={"ctproxy_headers": 1100}),
        replace(taken("plain", 1), server={**taken("plain", 1).server, "connections": 1099}),
        taken("ctproxy", 1),
        taken("ctframe", 1),
        beginning(encode_v2(CLIENT, ("10.62.2.2", 8080))),
        beginning(encode_v2(("10.62.2.1", 40000), DIALLED)),
    ],
)
def test_a_sample_that_did_something_else_has_one(sample: Sample) -> None:
    assert sample.fault


def test_a_signed_header_must_verify() -> None:
    key = KeyRing.parse(KEY).signer()
    signed = replace(beginning(encode_v2(CLIENT, DIALLED, key=key)), side=SIDES["ctproxy-signed"])
    unsigned = replace(beginning(encode_v2(CLIENT, DIALLED)), side=SIDES["ctproxy-signed"])
    assert not signed.fault
    assert unsigned.fault


def test_frames_are_counted() -> None:
    sample = taken("ctframe", 1, head=encode_stream(DIALLED, b"r" * 88))
    sample = replace(sample, server={**sample.server, "bytes": 1100 * 136})
    assert not replace(sample, counters={"ctframe_frames": 1100}).fault
    assert replace(sample, counters={"ctframe_frames": 1099}).fault


def page(side: str, body: str) -> Sample:
    """A sample of `nginx` whose last answer says `body`."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + body.encode()
    return replace(
        taken(side, 1),
        workload=WORKLOADS["nginx"],
        received=1000 * len(answer),
        server={},
        last=answer.hex(),
    )


def test_nginx_says_what_it_has_understood() -> None:
    assert not page("plain", "none").fault
    assert not page("ebpf", "10.62.1.2 198.18.0.4").fault
    assert page("ebpf", "none").fault
    assert page("ebpf", "10.62.1.2 10.62.2.2").fault
    assert replace(page("plain", "none"), received=1).fault


def test_each_stream_is_a_connection() -> None:
    eight = replace(
        taken("plain", 1),
        workload=WORKLOADS["upload-8"],
        sent=8000,
        received=8000,
        server={"connections": 8, "bytes": 8000, "head": ""},
    )
    assert not eight.fault
    assert replace(eight, server={**eight.server, "connections": 1}).fault

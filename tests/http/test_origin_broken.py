# SPDX-License-Identifier: MIT
"""Clause 10: streams whose origin is broken, late, or of another protocol."""

from __future__ import annotations

from typing import Any

import pytest

from ctwsgi.http.limits import Timeouts
from ctwsgi.source import make_source
from ctwsgi.trust import Trust
from ctwsgi.wire import ctframe, proxy

from .cases import Recorder, get, post
from .test_origin_stage import BODY, DST, HEADER, SRC, Framed, Headed, origins, servers
from .wire import Client, Running, until

__all__ = ["servers"]


def refused(server: Running, reason: str, before: int) -> None:
    until(lambda: server.counter(f"refused:{reason}") == before + 1, f"refused:{reason}")


def frames(*parts: bytes) -> bytes:
    return b"".join(ctframe.frame_header(DST, len(p)) + p for p in parts)


OTHER_HOST = ctframe.frame_header(("93.184.216.35", 8080), 1)
OTHER_PORT = ctframe.frame_header(("93.184.216.34", 8081), 1)
ZERO = ctframe.frame_header(DST, 1)[:6] + b"\0\0"
BREAKS = {
    "zero length": (ZERO, "zero-length-frame"),
    "other host": (OTHER_HOST, "destination-changed"),
    "other port": (OTHER_PORT, "destination-changed"),
}


def test_zero_length_first(servers: Any) -> None:
    server, recorder = servers["ctframe"]
    recorder.calls.clear()
    before = server.counter("refused:zero-length-frame")
    with Client(server.tcp) as client:
        client.send(ZERO + frames(get()))
        assert client.ended(reset=True)
    refused(server, "zero-length-frame", before)
    assert recorder.calls == []


@pytest.mark.parametrize("name", BREAKS)
@pytest.mark.parametrize("where", ["between requests", "in a head", "in a body", "in chunks"])
@pytest.mark.parametrize("at_once", [True, False])
def test_broken_later(servers: Any, name: str, where: str, at_once: bool) -> None:
    """Requests before the break may be answered. The application sees nothing after it."""
    server, recorder = servers["ctframe"]
    bad, reason = BREAKS[name]
    begun = {
        "between requests": get(),
        "in a head": get()[:-2],
        "in a body": post(b"Content-Length: 10", body=b"hello"),
        "in chunks": post(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n"),
    }[where]
    rest = {
        "between requests": get(target=b"/smuggled"),
        "in a head": b"\r\n",
        "in a body": b"world",
        "in chunks": b"0\r\n\r\n",
    }[where]
    recorder.calls.clear()
    before = server.counter(f"refused:{reason}")
    with Client(server.unix) as client:
        broken = bad + b"x" * (1 if name != "zero length" else 0) + frames(rest)
        pieces = [frames(begun) + broken] if at_once else [frames(begun), broken]
        client.send_apart(pieces)
        refused(server, reason, before)
        while client._more():
            pass
        assert client.unread.count(b"HTTP/1.1 200") <= (where == "between requests")
    until(lambda: all(c["done"] for c in recorder.calls), "the application to end")
    for call in recorder.calls:
        assert call["environ"]["PATH_INFO"] == "/"
        assert call["body"] == (b"" if where == "between requests" else None)


@pytest.mark.parametrize("size", range(1, 8))
def test_eof_in_a_frame_header(servers: Any, size: int) -> None:
    server, recorder = servers["ctframe"]
    recorder.calls.clear()
    before = server.counter("refused:eof-in-frame")
    with Client(server.tcp) as client:
        client.send(ZERO[:size])
        client.finish()
        assert client.ended(reset=True)
    refused(server, "eof-in-frame", before)
    assert recorder.calls == []


def test_eof_in_a_payload(servers: Any) -> None:
    server, recorder = servers["ctframe"]
    recorder.calls.clear()
    before = server.counter("refused:eof-in-frame")
    data = frames(BODY)
    with Client(server.tcp) as client:
        client.send(data[:-3])
        client.finish()
        while client._more():
            pass
        assert b" 200 " not in client.unread
    refused(server, "eof-in-frame", before)
    assert [c["body"] for c in recorder.calls] == [None]


def test_eof_between_frames_is_fine(servers: Any) -> None:
    server, recorder = servers["ctframe"]
    with Framed(server.tcp) as client:
        assert client.ask(get()).status == 200
        client.finish()
        assert client.ended()
    with Framed(server.tcp) as client:
        client.send(post(b"Content-Length: 10", body=b"hello"))  # whole frames, half a body
        client.finish()
        while client._more():
            pass
    until(lambda: recorder.calls and recorder.calls[-1]["done"], "the application to end")
    assert recorder.calls[-1]["body"] is None


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (get(), "no-header"),
        (b"\0", "no-header"),
        (b"PROXX", "bad-v1"),
        (b"PROXY TCP4 1.2.3.4\r\n", "bad-v1"),
        (HEADER[:12] + b"\x31", "bad-version"),
        (HEADER[:12] + b"\x22", "bad-command"),
        (HEADER[:11] + b"\x0b", "no-header"),
    ],
)
def test_the_first_wrong_byte_closes(servers: Any, first: bytes, reason: str) -> None:
    """There is no answer, because the peer does not speak the configured source's protocol."""
    server, recorder = servers["proxy"]
    recorder.calls.clear()
    before = sum(
        v for s in server.servers for k, v in s.counters.items() if k.startswith("refused:")
    )
    with Client(server.tcp) as client:
        client.send(first)
        assert client.ended(reset=True)
    until(
        lambda: (
            sum(
                v for s in server.servers for k, v in s.counters.items() if k.startswith("refused:")
            )
            > before
        ),
        f"a refusal, as for {reason}",
    )
    assert recorder.calls == []


def test_a_second_header_is_no_http(servers: Any) -> None:
    server, recorder = servers["proxy"]
    recorder.calls.clear()
    other = proxy.encode_v2(SRC, ("6.6.6.6", 6))
    for second in (other, proxy.encode_v1(SRC, ("6.6.6.6", 6))):
        with Headed(server.tcp) as client:
            client.send(second + get())
            assert client.response().status in (400, 501)
            assert client.ended()
        with Headed(server.tcp) as client:
            assert client.ask(get()).status == 200
            client.send(second + get())
            assert client.response().status in (400, 501)
            assert client.ended()
    assert set(origins(recorder)) == {DST}


@pytest.mark.parametrize("size", [1, 12, 15, 27])
def test_eof_in_a_header(servers: Any, size: int) -> None:
    server, _ = servers["proxy"]
    before = server.counter("refused:eof-in-header")
    with Client(server.tcp) as client:
        client.send(HEADER[:size])
        client.finish()
        assert client.ended(reset=True)
    refused(server, "eof-in-header", before)


@pytest.mark.parametrize(
    ("source", "sent"),
    [("proxy", b""), ("proxy", HEADER[:20]), ("ctframe", b""), ("ctframe", ZERO[:5])],
)
def test_the_origin_has_a_deadline(source: str, sent: bytes) -> None:
    timeouts = Timeouts(origin=0.3, request=0, body=0, keepalive=0)
    with Running(Recorder(), source=source, timeouts=timeouts) as server:
        with Client(server.tcp) as client:
            client.send(sent)
            assert client.ended(reset=True)
        refused(server, "origin-timeout", 0)


def test_an_untrusted_peer_is_closed_before_a_byte_is_read() -> None:
    source = make_source("proxy", trust=Trust.parse(["192.0.2.0/24"]))
    recorder = Recorder()
    with Running(recorder, source=source) as server:
        with Client(server.tcp) as client:
            assert client.ended(reset=True)
        refused(server, "untrusted-peer", 0)
    assert recorder.calls == []

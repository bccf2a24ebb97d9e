# SPDX-License-Identifier: MIT
"""Clause 10: the table's requests behind an origin, and what the application learns of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ctwsgi.source import make_source
from ctwsgi.wire import ctframe, proxy
from ctwsgi.wire.auth import Key, KeyRing

from .cases import Case, Recorder, check, chunked, get, post
from .test_table import ROWS
from .wire import Client, Running

DST = ("93.184.216.34", 8080)
SRC = ("198.51.100.7", 40000)
HEADER = proxy.encode_v2(SRC, DST)
KEY = Key(3, bytes(range(32)))
DEFAULT = [case for which, case in ROWS if which == "default"]
TWO = get() + get(target=b"/2")
BODY = post(b"Content-Length: 10", body=b"helloworld")


class Framed(Client):
    """Sends everything in frames of up to `size` bytes."""

    size = 65535

    def send(self, data: bytes) -> bool:
        return super().send(ctframe.encode_stream(DST, data, self.size))

    def raw(self, data: bytes) -> bool:
        return super().send(data)


class Threes(Framed):
    size = 3


class Headed(Client):
    """Sends a PROXY header in one segment with the first bytes."""

    header = HEADER

    def send(self, data: bytes) -> bool:
        header, self.header = self.header, b""
        return super().send(header + data)


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, tuple[Running, Recorder]]]:
    recorders = {name: Recorder() for name in ("ctframe", "proxy")}
    with (
        Running(recorders["ctframe"], source="ctframe") as framed,
        Running(recorders["proxy"], source="proxy") as headed,
    ):
        yield {
            "ctframe": (framed, recorders["ctframe"]),
            "proxy": (headed, recorders["proxy"]),
        }


def origins(recorder: Recorder) -> list[Any]:
    return [c["environ"]["ct.orig_dst"] for c in recorder.calls]


# --- the whole table again -------------------------------------------------------------------

FRONTS: dict[str, tuple[str, Callable[[Any], Client]]] = {
    "one frame": ("ctframe", Framed),
    "frames of 3": ("ctframe", Threes),
    "PROXY v2": ("proxy", Headed),
}
# Without the rows that expect values of a connection without an origin.
PLAIN = [
    c
    for c in DEFAULT
    if not any({"ct.source", "ct.orig_dst", "REMOTE_ADDR"} & set(a.environ) for a in c.answers)
]


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("case", PLAIN, ids=[c.id for c in PLAIN])
def test_the_table_behind_an_origin(servers: Any, front: str, case: Case) -> None:
    name, connect = FRONTS[front]
    server, recorder = servers[name]
    check(case, recorder, server.tcp, None, connect)
    assert set(origins(recorder)) <= {DST}


SPLIT = {
    "two requests": (TWO, ["/", "/2"]),
    "a body": (BODY, ["/"]),
    "chunks": (post(b"Transfer-Encoding: chunked", body=chunked(b"hel", b"lo")), ["/"]),
    "an upgrade": (
        post(b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 1", body=b"x"),
        ["/"],
    ),
}
WRAPS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "frames of 1": ("ctframe", lambda data: ctframe.encode_stream(DST, data, 1)),
    "frames of 7": ("ctframe", lambda data: ctframe.encode_stream(DST, data, 7)),
    "one frame": ("ctframe", lambda data: ctframe.encode_stream(DST, data)),
    "v1": ("proxy", lambda data: proxy.encode_v1(SRC, DST) + data),
    "v2": ("proxy", lambda data: HEADER + data),
    "v2 with TLVs": (
        "proxy",
        lambda data: proxy.encode_v2(SRC, DST, tlvs=((2, b"h" * 99),)) + data,
    ),
}


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("what", SPLIT)
@pytest.mark.parametrize("how", ["byte by byte", "split everywhere"])
def test_any_split(servers: Any, wrap: str, what: str, how: str) -> None:
    name, function = WRAPS[wrap]
    server, recorder = servers[name]
    request, paths = SPLIT[what]
    data = function(request)
    if how == "byte by byte":
        divisions = [[data[i : i + 1] for i in range(len(data))]]
    else:
        divisions = [[data[:i], data[i:]] for i in range(1, len(data))]
    for pieces in divisions:
        recorder.calls.clear()
        with Client(server.unix) as client:
            client.send_apart(pieces)
            for _ in paths:
                assert client.response().status == 200
        assert [c["environ"]["PATH_INFO"] for c in recorder.calls] == paths
        assert set(origins(recorder)) == {DST}


# --- what the application is told ------------------------------------------------------------


@pytest.mark.parametrize("name", ["ctframe", "proxy"])
def test_the_origin_belongs_to_the_connection(servers: Any, name: str) -> None:
    server, recorder = servers[name]
    recorder.calls.clear()
    with {"ctframe": Framed, "proxy": Headed}[name](server.tcp) as client:
        for path in (b"/1", b"/2", b"/3"):
            assert client.ask(get(target=path)).status == 200
    assert origins(recorder) == [DST] * 3
    for call in recorder.calls:
        environ = call["environ"]
        assert environ["ct.source"] == name
        assert environ["ct.verified"] is False
        assert environ["ct.origin"].orig_dst == DST
        assert environ["SERVER_PORT"] == str(server.tcp[1])
    last = recorder.calls[-1]["environ"]
    if name == "proxy":
        assert last["ct.orig_src"] == SRC
        assert (last["REMOTE_ADDR"], last["REMOTE_PORT"]) == (SRC[0], str(SRC[1]))
    else:
        assert last["ct.orig_src"][0] == last["REMOTE_ADDR"] == "127.0.0.1"


@pytest.mark.parametrize("name", ["ctframe", "proxy"])
@pytest.mark.parametrize(
    "forged",
    [
        b"CT-Orig-Dst: 6.6.6.6:6",
        b"ct.orig_dst: 6.6.6.6:6",
        b"CT.ORIG_DST: 6.6.6.6:6",
        b"Ct-Origin: 6.6.6.6:6",
        b"X-Forwarded-For: 6.6.6.6",
        b"Forwarded: for=6.6.6.6",
        b"Remote-Addr: 6.6.6.6",
        b"ct.verified: True",
        b"Ct.source: conntrack",
    ],
)
def test_no_header_forges_an_origin(servers: Any, name: str, forged: bytes) -> None:
    server, recorder = servers[name]
    with {"ctframe": Framed, "proxy": Headed}[name](server.tcp) as client:
        for request in (
            get(forged),
            post(b"Transfer-Encoding: chunked", body=chunked(trailer=forged + b"\r\n")),
        ):
            recorder.calls.clear()
            assert client.ask(request).status == 200
            environ = recorder.calls[0]["environ"]
            assert environ["ct.orig_dst"] == DST
            assert environ["ct.source"] == name
            assert environ["ct.verified"] is False
            assert environ["ct.origin"].orig_dst == DST
            assert environ["REMOTE_ADDR"] in (SRC[0], "127.0.0.1")


@pytest.mark.parametrize(
    "header", [proxy.encode_local(), proxy.encode_v1(None, None), proxy.encode_v2(None, None)]
)
def test_a_header_without_addresses(servers: Any, header: bytes) -> None:
    server, recorder = servers["proxy"]
    recorder.calls.clear()
    with Client(server.tcp) as client:
        assert client.ask(header + get()).status == 200
    environ = recorder.calls[0]["environ"]
    assert environ["ct.orig_dst"] is None
    assert environ["REMOTE_ADDR"] == "127.0.0.1"


def test_ipv6(servers: Any) -> None:
    server, recorder = servers["proxy"]
    recorder.calls.clear()
    with Client(server.tcp) as client:
        client.send(proxy.encode_v2(("2001:db8::7", 1), ("2001:db8::1", 443)) + get())
        assert client.response().status == 200
    environ = recorder.calls[0]["environ"]
    assert environ["ct.orig_dst"] == ("2001:db8::1", 443)
    assert environ["REMOTE_ADDR"] == "2001:db8::7"


def test_a_signed_header_is_verified() -> None:
    recorder = Recorder()
    source = make_source("proxy", keys=KeyRing([KEY]))
    with Running(recorder, source=source) as server:
        with Client(server.tcp) as client:
            client.send(proxy.encode_v2(SRC, DST, key=KEY) + get())
            assert client.response().status == 200
        assert recorder.calls[0]["environ"]["ct.verified"] is True
        with Client(server.tcp) as client:
            client.send(HEADER + get())
            assert client.ended(reset=True)
        assert len(recorder.calls) == 1
        assert server.counter("refused:auth-missing") == 1

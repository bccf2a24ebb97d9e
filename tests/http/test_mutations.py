# SPDX-License-Identifier: MIT
"""Rows of the table with random errors. The result must not depend on the segmentation, and
gunicorn's parser must read each accepted request in the same way.

The random numbers have a seed, so that a failure can be repeated; CTWSGI_SEED=n sets another one.
"""

from __future__ import annotations

import itertools
import os
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.parser import RequestParser

from .cases import Recorder
from .test_table import ROWS
from .wire import Client, Running, until

SEED = int(os.environ.get("CTWSGI_SEED", "1"))
POOL = [c.request for which, c in ROWS if which == "default" and b"/app/" not in c.request]
POOL = [request for request in POOL if len(request) < 400]
PIECES = [bytes([b]) for b in b'\r\n\0 \t:;,05a-_/*%?#"\x0b\xff'] + [
    b"\r\n",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"chunked",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
    b"Connection: close\r\n",
    b"Host: x\r\n",
    b"HTTP/1.0",
    b"RTSP/1.0",
    b"HEAD ",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
]
_FINAL = re.compile(rb"HTTP/1\.1 ([2-5]\d\d) ")

Seen = tuple[list[int], list[tuple[Any, ...]]]


def damaged(rng: random.Random) -> bytes:
    data = rng.choice(POOL)
    for _ in range(rng.choice((1, 1, 2, 3))):
        at, until_ = sorted(rng.choices(range(len(data) + 1), k=2))
        kind = rng.randrange(4)
        if kind == 0:
            data = data[:at] + rng.choice(PIECES) + data[at:]
        elif kind == 1:
            data = data[:at] + rng.choice(PIECES) + data[at + 1 :]
        elif kind == 2:
            data = data[:at] + data[at + rng.randrange(1, 4) :]
        else:
            data = data[:until_] + data[at:]
    return data + (damaged(rng) if rng.random() < 0.3 else b"")


def cut(rng: random.Random, data: bytes) -> list[bytes]:
    count = rng.choice((1, 1, 2, 4, len(data)))
    if count >= len(data):
        return [data[i : i + 1] for i in range(len(data))]
    cuts = [0, *sorted(rng.sample(range(1, len(data)), count)), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(cuts)]


def play(server: Running, recorder: Recorder, pieces: list[bytes]) -> Seen:
    recorder.calls.clear()
    with Client(server.unix) as client:
        client.send_apart(pieces)
        client.finish()
        raw = client._rest()
    calls = recorder.calls
    until(lambda: all(c["done"] for c in calls), "the application to end")
    # The first bytes that arrive may decide whether a wrong method is "bad" or "unknown".
    statuses = [400 if s == b"501" else int(s) for s in _FINAL.findall(raw)]
    return statuses, [
        (
            c["environ"]["REQUEST_METHOD"],
            c["environ"]["RAW_URI"],
            c["body"],
            sorted((k, v) for k, v in c["environ"].items() if k.startswith(("HTTP_", "CONTENT_"))),
        )
        for c in calls
    ]


def as_gunicorn_reads(data: bytes) -> Iterator[tuple[Any, ...]]:
    """Method, target and body of each request, up to the first that gunicorn refuses."""
    try:
        for request in RequestParser(Config(), iter([data]), ("127.0.0.1", 1)):
            yield request.method, request.uri, request.body.read()
    except Exception:
        return


@pytest.mark.parametrize("part", range(4))
def test_damaged_requests(part: int) -> None:
    rng = random.Random(f"{SEED}/{part}")
    recorder = Recorder()
    agreed = 0
    with Running(recorder) as server:
        for _ in range(5000 if os.environ.get("CTWSGI_TEST_FULL") else 500):
            data = damaged(rng)
            whole = play(server, recorder, [data])
            pieces = cut(rng, data)
            assert play(server, recorder, pieces) == whole, f"{data!r} in {pieces!r}"
            ours = [call[:3] for call in whole[1] if call[2] is not None]
            for mine, theirs in zip(ours, as_gunicorn_reads(data), strict=False):
                assert mine == theirs, f"{data!r} reads differently"
                agreed += 1
    assert agreed > 50, "the comparison compares nothing"

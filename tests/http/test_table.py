# SPDX-License-Identifier: MIT
"""docs/server-behaviour.md clause by clause: each row at once, byte by byte, and split everywhere.

The rows are in table_*.py, named by clause. Requests at once go over TCP. The others go over a unix
socket, where each piece is sent after the server has read the last one (see wire.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from ctwsgi.http.limits import Limits

from . import (
    table_environ,
    table_framing,
    table_input,
    table_parsing,
    table_response,
    table_version,
)
from .cases import Case, Recorder, check
from .wire import Running

SMALL = Limits(request_line=40, header_block=150, header_count=4, chunk_overhead=64)
"""Small, so that requests at a limit can be split at every offset."""

TABLES = (table_framing, table_version, table_parsing, table_environ, table_input, table_response)
ROWS = [("default", case) for table in TABLES for case in table.CASES]
ROWS += [("small", case) for case in table_parsing.SMALL_CASES]

Servers = dict[str, tuple[Running, Recorder]]


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    default, small = Recorder(), Recorder()
    with Running(default) as one, Running(small, limits=SMALL) as two:
        yield {"default": (one, default), "small": (two, small)}


def test_names_are_unique() -> None:
    counts = Counter(case.id for _, case in ROWS)
    assert [name for name, count in counts.items() if count > 1] == []


rows = pytest.mark.parametrize(("which", "case"), ROWS, ids=[case.id for _, case in ROWS])


@rows
def test_whole(servers: Servers, which: str, case: Case) -> None:
    server, recorder = servers[which]
    check(case, recorder, server.tcp, None)


@rows
def test_byte_by_byte(servers: Servers, which: str, case: Case) -> None:
    server, recorder = servers[which]
    data = case.request
    check(case, recorder, server.unix, (data[i : i + 1] for i in range(len(data))))


@rows
def test_split_everywhere(servers: Servers, which: str, case: Case) -> None:
    server, recorder = servers[which]
    data = case.request
    for offset in range(1, len(data)):
        try:
            check(case, recorder, server.unix, (data[:offset], data[offset:]))
        except AssertionError as e:
            raise AssertionError(f"split at {offset}, before {data[offset:][:20]!r}: {e}") from e

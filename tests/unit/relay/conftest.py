# SPDX-License-Identifier: MIT
"""The relay and its upstream, for one test."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from ctwsgi.relay import (
    Injection,
    Proxy,
)

from .bench import DEADLINE, Bench


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    with ExitStack() as stack:

        def make(injection: Injection | None = None, upstream: Any = None, **options: Any) -> Bench:
            if upstream is None:
                upstream = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
                upstream.settimeout(DEADLINE)
            made = Bench(injection or Proxy(), upstream, stack, **options)
            stack.callback(made.stop)
            return made

        yield make

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

from .rig import DEADLINE, Rig


@pytest.fixture
def rig() -> Iterator[Callable[..., Rig]]:
    with ExitStack() as stack:

        def make(injection: Injection | None = None, upstream: Any = None, **options: Any) -> Rig:
            if upstream is None:
                upstream = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
                upstream.settimeout(DEADLINE)
            made = Rig(injection or Proxy(), upstream, stack, **options)
            stack.callback(made.stop)
            return made

        yield make

# SPDX-License-Identifier: MIT
"""Fixtures: an application that records, and a TCP connection."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from .support import Recorder


@pytest.fixture
def app() -> Recorder:
    return Recorder()


@pytest.fixture
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """(accepted, client): the two ends of a loopback TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    with accepted, client:
        yield accepted, client

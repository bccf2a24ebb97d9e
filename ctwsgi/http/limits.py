# SPDX-License-Identifier: MIT
"""Limits for clients: sizes in bytes, times in seconds. Zero turns a time limit off."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timeouts:
    """Deadlines of one connection. docs/server-behaviour.md says what each does to the client."""

    origin: float = 10.0
    """From accept to a known origin."""
    request: float = 30.0
    """From a request's first byte (for the first request, from the origin) to its whole head."""
    body: float = 30.0
    """Without progress: in a request body, or while the client does not read the response."""
    keepalive: float = 5.0
    """Between a response and the next request."""
    linger: float = 2.0
    """How long a closing connection waits for the client to read the answer; 0: not at all."""


@dataclass(frozen=True)
class Limits:
    """Bounds on the memory and work for one request."""

    request_line: int = 8190
    """The request target, as gunicorn's limit_request_line."""
    header_block: int = 65536
    """All header names and values with their separators."""
    header_field: int = 65536
    """One header line, as gunicorn's limit_request_field_size."""
    header_count: int = 100
    chunk_overhead: int = 16384
    """Chunk extensions and trailers of one body, beyond 16 bytes per chunk and a quarter of the
    data."""
    drain: int = 1 << 20
    """An unread body up to this size is read and discarded to keep the connection; a longer one
    closes it."""
    body_rate: int = 500
    """Bytes per second; a slower body reaches the body timeout."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1 and name != "drain":
                raise ValueError(f"limit {name} must be at least 1")

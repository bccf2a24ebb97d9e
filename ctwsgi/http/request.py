# SPDX-License-Identifier: MIT
"""One request as it comes in: its head, frozen when complete, and its body, still arriving."""

from __future__ import annotations

from collections import deque


class Request:
    """Filled by the parser, read by environ and input stream."""

    __slots__ = (
        "body",
        "chunked",
        "complete",
        "content_length",
        "expects_continue",
        "headers",
        "keep_alive",
        "method",
        "target",
        "version",
    )

    def __init__(
        self,
        method: str,
        target: str,
        version: str,
        headers: list[tuple[bytes, bytes]],
        keep_alive: bool,
    ) -> None:
        self.method = method
        self.target = target
        self.version = version
        """`1.0` or `1.1`."""
        self.headers = headers
        self.keep_alive = keep_alive
        self.chunked = False
        self.content_length = 0
        self.expects_continue = False
        self.body: deque[bytes] = deque()
        """Pieces received and not yet read by the application."""
        self.complete = False
        """The last byte of the body is here."""

    @property
    def framed(self) -> bool:
        """There is a body, however long."""
        return self.chunked or self.content_length > 0

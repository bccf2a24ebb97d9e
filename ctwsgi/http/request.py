# SPDX-License-Identifier: MIT
"""One request: its head, which is complete, and its body, which may still be arriving."""

from __future__ import annotations

from collections import deque


class Request:
    """The parser writes it; environ and `wsgi.input` read it."""

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
        """The pieces that were received and that the application has not read."""
        self.complete = False
        """The last byte of the body was received."""

    @property
    def framed(self) -> bool:
        """The request has a body."""
        return self.chunked or self.content_length > 0

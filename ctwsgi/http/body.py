# SPDX-License-Identifier: MIT
"""`wsgi.input`: the request body, received when the application reads it.

A read returns an end of file only at the end of the body. A body that breaks off raises BodyError,
an OSError, so that no application takes half an upload for a complete one.
"""

from __future__ import annotations

from collections.abc import Iterator

from .channel import Channel
from .errors import BodyError
from .request import Request

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Body:
    """The file-like object of PEP 3333: read, readline, readlines and iteration."""

    __slots__ = ("_at", "_channel", "_piece", "_request")

    def __init__(self, channel: Channel, request: Request) -> None:
        self._channel: Channel | None = channel
        self._request = request
        self._piece = b""
        self._at = 0

    def read(self, size: int | None = -1) -> bytes:
        """Up to `size` bytes, fewer only at the end; the rest of the body for None or below 0."""
        if size is None or size < 0:
            return b"".join(iter(self._rest, b""))
        parts = []
        while size > 0 and self._fill():
            part = self._take(size)
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readline(self, size: int | None = -1) -> bytes:
        """Up to and including the next LF, or up to `size` bytes of it."""
        left = -1 if size is None else size
        parts = []
        while left != 0 and self._fill():
            newline = self._piece.find(b"\n", self._at)
            span = (newline + 1 if newline >= 0 else len(self._piece)) - self._at
            if 0 <= left < span:
                span, newline = left, -1
            parts.append(self._take(span))
            if left > 0:
                left -= span
            if newline >= 0:
                break
        return b"".join(parts)

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """Lines until the end, or until `hint` bytes have been read."""
        lines: list[bytes] = []
        total = 0
        for line in self:
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint <= total:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def close(self) -> None:
        """Called after the response: a later read must not return bytes of the next request."""
        self._channel = None

    def _rest(self) -> bytes:
        return self._take(len(self._piece)) if self._fill() else b""

    def _take(self, size: int) -> bytes:
        piece, at = self._piece, self._at
        end = min(at + size, len(piece))
        self._at = end
        return piece if not at and end == len(piece) else piece[at:end]

    def _fill(self) -> bool:
        """Makes at least one byte available; False at the end of the body."""
        if self._at < len(self._piece) and self._channel is not None:
            return True
        request = self._request
        if self._channel is None:
            raise BodyError("the response is over, and with it the request body")
        while not request.body:
            if request.complete:
                return False
            if request.expects_continue:
                request.expects_continue = False
                self._channel.send(_CONTINUE)
            self._channel.receive_body()
        self._piece = request.body.popleft()
        self._at = 0
        return True

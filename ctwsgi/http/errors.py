# SPDX-License-Identifier: MIT
"""Errors between client and application, with their statuses and the reasons to count."""

from __future__ import annotations

from .date import date_line

PHRASES = {
    400: "Bad Request",
    408: "Request Timeout",
    414: "URI Too Long",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    505: "HTTP Version Not Supported",
}


class HTTPError(Exception):
    """A request that is refused. `reason` is a short code for counters. The client gets the status
    only: no part of its request is repeated in the answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason

    def reply(self, *, head_only: bool = False) -> bytes:
        """The complete answer. It closes the connection: after a refused head the start of the next
        request is not known.

        `head_only` is for HEAD requests (RFC 9110, 9.3.2).
        """
        phrase = PHRASES[self.status]
        return (
            f"HTTP/1.1 {self.status} {phrase}\r\n{date_line()}"
            "Connection: close\r\n"
            "Content-Type: text/plain\r\n"
            f"Content-Length: {len(phrase) + 1}\r\n\r\n"
            f"{'' if head_only else phrase + chr(10)}"
        ).encode("ascii")


class Disconnected(ConnectionError):
    """The client is gone. Reads and writes raise it; it is no error of the application."""


class DeadlineExceeded(TimeoutError):
    """The client took too long. `which`: origin, request, body, keepalive, send or linger."""

    def __init__(self, which: str) -> None:
        super().__init__(f"{which} timeout")
        self.which = which


class BodyError(OSError):
    """The request body broke off or has invalid framing. `wsgi.input` raises it."""

    def __init__(self, message: str, answer: HTTPError | None = None) -> None:
        super().__init__(message)
        self.answer = answer
        """The answer for the client, if the application has not sent one."""

# SPDX-License-Identifier: MIT
"""start_response(), write() and the framing of one response (PEP 3333; RFC 9112, 6.3).

The head is sent together with the first bytes of the body, in one segment where they fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from logging import Logger
from types import TracebackType
from typing import Any
from wsgiref.util import FileWrapper

from .channel import Buffer, Channel
from .date import date_line
from .errors import Disconnected
from .request import Request

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]

_JOIN_UP_TO = 8192
"""Bytes: joining fewer costs less than sendmsg(), joining more costs more."""

_FILE_BLOCK = 65536

_STATUS = re.compile(r"[2-5][0-9][0-9] [^\x00-\x1f\x7f]*")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CACHE_LIMIT = 4096
_statuses: set[str] = set()
_names: dict[str, str] = {}
"""Checked header names, to lower case. Both caches are bounded."""

_HOP_BY_HOP = frozenset(
    ("keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)
_OURS = _HOP_BY_HOP | {"connection", "content-length", "date"}
_dropped_once: set[str] = set()


class Response:
    """The response to one request, from start_response() to its last byte."""

    __slots__ = (
        "_bodyless",
        "_channel",
        "_chunked",
        "_code",
        "_dated",
        "_head",
        "_left",
        "_log",
        "_request",
        "closes",
        "head_sent",
        "headers",
        "sent",
        "status",
        "truncated",
    )

    def __init__(self, channel: Channel, request: Request, log: Logger) -> None:
        self._channel = channel
        self._request = request
        self._log = log
        self._head: str | None = None
        self._code = ""
        self._dated = False
        self._bodyless = False
        self._chunked = False
        self._left: int | None = None  # bytes of a Content-Length that are not sent yet
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.head_sent = False
        self.sent = 0
        """Bytes of body that the kernel has taken, without framing."""
        self.closes = not request.keep_alive
        """The connection ends after this response."""
        self.truncated = False
        """The body is shorter or longer than announced: the connection must end."""

    # The application's side.

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """start_response(). A second call needs exc_info and replaces a head that was not sent."""
        if exc_info is not None:
            try:
                if self.head_sent and exc_info[1] is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self._head is not None:
            raise AssertionError(
                "start_response() was already called; a second call needs exc_info"
            )
        if status not in _statuses:
            _check_status(status)
        self.closes = not self._request.keep_alive
        self._left = None
        self._dated = False
        lines = [f"HTTP/1.1 {status}\r\n"]
        for name, value in headers:
            key = _names.get(name) or _check_name(name)
            if not isinstance(value, str):
                raise TypeError(f"value of response header {name} is not a str")
            if key not in _OURS or self._keep(key, value):
                lines.append(f"{name}: {value}\r\n")
        head = "".join(lines)
        if head.count("\n") != len(lines) or head.count("\r") != len(lines) or "\0" in head:
            raise ValueError("CR, LF or NUL in a response header")
        if not head.isascii():
            head.encode("latin-1")  # raises here, in the application's call
        self._head = head
        self._code = status[:3]
        self.status = status
        self.headers = headers
        self._bodyless = self._code in ("204", "304") or self._request.method == "HEAD"
        return self.write

    def write(self, data: bytes) -> None:
        """Sends one piece of body, and the head before the first."""
        if data:
            self._send(data, None)

    def run(self, application: Callable[..., Iterable[bytes]], environ: dict[str, Any]) -> None:
        """Calls the application and sends what it returns. close() is called whatever happens."""
        result = application(environ, self.start)
        try:
            if result.__class__ in (list, tuple) and len(result) == 1:
                data = result[0]
                self._send(data, len(data))
            else:
                if isinstance(result, FileWrapper):
                    result.blksize = max(result.blksize, _FILE_BLOCK)
                for data in result:
                    if data:
                        self._send(data, None)
            self._finish()
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def close(self) -> None:
        """Called after the response: a later write() must not reach the next response."""
        self._channel = _OVER

    # Framing.

    def _keep(self, key: str, value: str) -> bool:
        """Handles a header about connection or framing. False: it is not sent as it is."""
        if key == "content-length":
            if not (value.isascii() and value.isdigit()):
                raise ValueError("Content-Length of the response is not a number")
            if self._left is not None:
                raise ValueError("a second Content-Length in the response")
            self._left = int(value)
            return False  # _open() writes it, where the status allows one
        if key == "date":
            self._dated = True
            return True
        if key == "connection":
            self.closes |= "close" in (token.strip() for token in value.lower().split(","))
            return False
        if key not in _dropped_once:
            _dropped_once.add(key)
            self._log.warning("dropped a hop-by-hop header of the application's: %s", key)
        return False

    def _open(self, size: int | None) -> bytes:
        """The complete head. `size` is the length of the body, if known."""
        head = self._head
        if head is None:
            raise AssertionError("the application did not call start_response()")
        request = self._request
        if self._channel.closing or (request.expects_continue and not request.complete):
            # A client that got no 100 Continue may or may not send its body.
            self.closes = True
        request.expects_continue = False  # an interim response cannot follow the final one
        if not self._dated:
            head += date_line()
        if self._code != "204":
            if self._left is None and not self._bodyless:
                if size is not None:
                    self._left = size
                elif request.version == "1.1":
                    self._chunked = True
                    head += "Transfer-Encoding: chunked\r\n"
                else:
                    self.closes = True  # the end of the connection is the end of the body
            if self._left is not None:
                head += f"Content-Length: {self._left}\r\n"
        if self.closes:
            head += "Connection: close\r\n"
        elif request.version == "1.0":
            head += "Connection: keep-alive\r\n"
        self.head_sent = True
        return head.encode("latin-1") + b"\r\n"

    def _send(self, data: bytes, size: int | None) -> None:
        if not isinstance(data, bytes):
            raise TypeError(f"the response body must be bytes, not {type(data).__name__}")
        head = b"" if self.head_sent else self._open(size)
        data = self._fit(data)
        self.sent += len(data)
        if not data:
            if head:
                self._channel.send(head)
        elif self._chunked:
            self._gather((head + b"%x\r\n" % len(data), data, b"\r\n"))
        elif head:
            self._gather((head, data))
        else:
            self._channel.send(data)

    def _fit(self, data: bytes) -> bytes:
        """The part of `data` that fits the announced length."""
        if self._bodyless:
            return b""
        left = self._left
        if left is None:
            return data
        if len(data) > left:
            self._log.error("the response is longer than its Content-Length: cut off")
            self.truncated = True
            data = data[:left]
        self._left = left - len(data)
        return data

    def _gather(self, parts: tuple[Buffer, ...]) -> None:
        if len(parts[1]) <= _JOIN_UP_TO:
            self._channel.send(b"".join(parts))
        else:
            self._channel.send_parts(parts)

    def _finish(self) -> None:
        if not self.head_sent:
            self._channel.send(self._open(0))
        if self._chunked:
            self._channel.send(b"0\r\n\r\n")
        elif self._left and not self._bodyless:
            self._log.error("the response is %d bytes shorter than its Content-Length", self._left)
            self.truncated = True

    @property
    def ends_with_connection(self) -> bool:
        """The connection's end is the body's end, so only a reset tells that it broke off."""
        return self.head_sent and not (self._bodyless or self._chunked or self._left is not None)


class _Over:
    """The channel of a response after close()."""

    closing = True

    def receive_body(self) -> None:
        raise Disconnected("the response is over")

    def send(self, data: Buffer) -> None:
        raise Disconnected("the response is over")

    def send_parts(self, parts: Sequence[Buffer]) -> None:
        raise Disconnected("the response is over")


_OVER = _Over()


def _check_status(status: str) -> None:
    if not isinstance(status, str):
        raise TypeError("the response status is not a str")
    if _STATUS.fullmatch(status) is None:
        raise ValueError(f"not a final response status: {status!r}")
    if len(_statuses) >= _CACHE_LIMIT:
        _statuses.clear()
    _statuses.add(status)


def _check_name(name: str) -> str:
    if not isinstance(name, str):
        raise TypeError("a response header name is not a str")
    if _TOKEN.fullmatch(name) is None:
        raise ValueError(f"not a header name: {name!r}")
    key = name.lower()
    if len(_names) >= _CACHE_LIMIT:
        _names.clear()
    _names[name] = key
    return key

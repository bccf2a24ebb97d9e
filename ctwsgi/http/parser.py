# SPDX-License-Identifier: MIT
"""Bytes to requests: httptools (llhttp) tokenises, this module decides what is accepted.

llhttp refuses most request smuggling: bare LF, obs-fold, Content-Length beside Transfer-Encoding,
malformed chunk sizes. It leaves the rest to us: it limits no sizes; it passes trailers to
on_header and lets them close the connection; it accepts `gzip, chunked`, chunked in HTTP/1.0, the
protocol names RTSP and ICE, and any CR or LF between requests; it drops the body's framing when a
request asks for an upgrade.

llhttp does not tell where in its input a message ends. So it gets each head and each body in calls
of its own: a head or a chunked body can end only behind an empty line, any other body ends by its
length.
"""

from __future__ import annotations

import re
from collections import deque
from typing import NoReturn

from httptools import (
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from .errors import HTTPError
from .limits import Limits
from .request import Request

_EMPTY_LINE = b"\r\n\r\n"
_CR, _LF = b"\r\n"

_CHUNK_FRAMING = 16
"""Bytes of framing per chunk (size line and CRLFs) that do not count as overhead."""

_BLANK_LIMIT = 1024
"""Bytes of CRLF that may precede a request. RFC 9112, 2.2 has a server ignore some."""

_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+( |\Z)")
"""A method token (RFC 9110, 9.1 and 5.6.2), complete or cut off where the received bytes end."""


class RequestParser:
    """`feed()` it bytes and take Requests from `requests`. After an `error` it parses no more.

    Requests that were parsed before the error are valid and are answered first.
    """

    __slots__ = (
        "_at",
        "_begun",
        "_blank",
        "_chunks",
        "_current",
        "_fed",
        "_half_blank",
        "_head",
        "_head_size",
        "_headers",
        "_last",
        "_limits",
        "_parser",
        "_payload",
        "_piece",
        "_priming",
        "_rest",
        "_tail",
        "_target",
        "error",
        "requests",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.requests: deque[Request] = deque()
        self.error: HTTPError | None = None
        self._rest = b""  # received; not parsed yet from _at on
        self._at = 0
        self._tail = b""  # the end of the last part, which may hold the beginning of an empty line
        self._blank = 0
        self._half_blank = False  # a CR was skipped, its LF has not come
        self._begun = False  # a head is arriving
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_size = 0
        self._head = bytearray()  # earlier pieces of an unfinished head
        self._piece: bytes | memoryview = b""  # what is being parsed now
        self._current: Request | None = None  # the request whose body is arriving
        self._payload = self._fed = self._chunks = 0  # of that body
        self._last = False  # the current or latest request is the connection's last
        self._priming = False
        self._parser: HttpRequestParser | None = HttpRequestParser(self)

    @property
    def idle(self) -> bool:
        """Between requests: no byte of the next one has been received."""
        return self._current is None and not self._begun and not self._rest

    @property
    def next_begun(self) -> bool:
        """The request that was taken last is complete, and the next one has begun."""
        waits = self._current is None and (self._begun or bool(self._rest)) and not self._last
        return bool(self.requests) or waits

    @property
    def ahead(self) -> bool:
        """The client has sent more than the request that was taken last."""
        return bool(self.requests) or not self.idle or self.error is not None

    @property
    def head_only(self) -> bool:
        """The unfinished or refused head has the method HEAD, if the method is known."""
        if self._parser is None or not (self._begun and self._target):
            return False
        return bool(self._parser.get_method() == b"HEAD")

    def close(self) -> None:
        """Breaks the reference cycles through llhttp's callbacks and the error's traceback."""
        self._parser = None
        self.error = None

    def feed(self, data: bytes | memoryview) -> None:
        """Takes bytes that were just received; keeps those behind the next request for resume()."""
        if self.error is not None:
            return
        if not self._rest and self._current is not None and self._left_of_body() >= len(data):
            self._execute(data)  # most of an upload takes this path, without a copy
        else:
            self._rest = self._rest[self._at :] + data if self._rest else bytes(data)
            self._at = 0
            self.resume()

    def resume(self) -> bool:
        """Parses what was kept, until a request can be taken. False: there was nothing to do.

        So a client that sends thousands of requests at once has each parsed when it is answered.
        """
        progress = False
        while self._at < len(self._rest) and not self.requests and self.error is None:
            if self._current is not None:
                self._parse(self._left_of_body() or self._to_empty_line())
            elif self._begun or not self._skip_empty_lines():
                if self._last and not self._begun:
                    return progress  # kept for `ahead`; no request behind the last one is answered
                self._parse(self._to_empty_line())
            progress = True
        if self._at >= len(self._rest) or self.error is not None:
            self._rest = b""
            self._at = 0
        return progress

    # Where the parts of the stream end.

    def _left_of_body(self) -> int:
        """How many bytes of the body are missing; 0 for a chunked body, whose length is unknown."""
        request = self._current
        assert request is not None
        return 0 if request.chunked else request.content_length - self._payload

    def _to_empty_line(self) -> int:
        """The number of kept bytes up to the end of the next empty line; all, if there is none.

        A chunked body ends behind an empty line as well: the one that ends its trailer section.
        """
        tail, rest, at = self._tail, self._rest, self._at
        if tail:
            end = (tail + rest[at : at + 3]).find(_EMPTY_LINE)
            if end >= 0:
                return end + len(_EMPTY_LINE) - len(tail)
        end = rest.find(_EMPTY_LINE, at)
        return (end + len(_EMPTY_LINE) if end >= 0 else len(rest)) - at

    def _skip_empty_lines(self) -> bool:
        """Skips CRLF before a request line (RFC 9112, 2.2). False when there is none."""
        begin = self._at
        if self._rest[begin] not in _EMPTY_LINE and not self._half_blank:
            return False
        for byte in self._rest[begin : begin + _BLANK_LIMIT + 1]:
            if byte not in (_CR, _LF) and not self._half_blank:
                break
            if byte != (_LF if self._half_blank else _CR):
                self._fail(HTTPError(400, "bare-cr-or-lf"))
                return True
            self._half_blank = byte == _CR
            self._at += 1
        skipped = self._at - begin
        self._blank += skipped
        if self._blank > _BLANK_LIMIT:
            self._fail(HTTPError(400, "blank-lines"))
        return skipped > 0

    def _parse(self, size: int) -> None:
        """Parses the next `size` kept bytes, which belong to one head or one body."""
        part = self._rest[self._at : self._at + size]  # no copy, if it is all of _rest
        self._at += size
        body_of = self._current
        self._tail = b""
        self._execute(part)
        if self._begun:
            self._tail = (bytes(self._head[-3:]) + part)[-3:]
            self._hold_head(part)
        elif body_of is not None and self._current is body_of and body_of.chunked:
            self._tail = part[-3:]
            self._count_overhead(len(part))

    def _execute(self, data: bytes | memoryview) -> None:
        self._piece = data
        try:
            self._parser.feed_data(data)  # type: ignore[union-attr]
        except HttpParserUpgrade:
            self._ignore_upgrade()
        except HttpParserError as e:
            self._fail(self._verdict(e))
        self._piece = b""

    # What llhttp calls, in the order of a message.

    def on_message_begin(self) -> None:
        self._begun = True
        self._blank = 0
        self._target = b""
        self._headers = []
        self._head_size = 0

    def on_url(self, piece: bytes) -> None:
        self._target += piece
        if len(self._target) > self._limits.request_line:
            self._refuse(414, "request-line-too-long")

    def on_header(self, name: bytes, value: bytes) -> None:
        headers = self._headers
        headers.append((name, value))
        size = len(name) + len(value) + 4  # with the colon, a space and the line end
        self._head_size += size
        if size > self._limits.header_field:
            self._refuse(431, "header-field-too-long")
        if self._head_size > self._limits.header_block:
            self._refuse(431, "header-block-too-long")
        if len(headers) > self._limits.header_count:
            self._refuse(431, "too-many-headers")

    def on_headers_complete(self) -> None:
        if self._priming:
            return
        parser = self._parser
        assert parser is not None
        version = parser.get_http_version()
        method = parser.get_method()
        if version not in ("1.1", "1.0"):
            self._refuse(505, "version")
        self._check_protocol_name()
        if method == b"CONNECT":
            self._refuse(501, "connect")
        request = Request(
            method.decode("ascii"),
            self._target.decode("ascii"),
            version,
            self._headers,
            parser.should_keep_alive(),
        )
        # Trailers arrive through on_header as well: the head is frozen here, they are dropped.
        self._headers = []
        self._head_size = 0
        self._read_framing(request)
        self._begun = False
        self._last = not request.keep_alive
        if self._head:
            self._head = bytearray()
        self._payload = self._fed = self._chunks = 0
        self._current = request
        self.requests.append(request)

    def on_body(self, piece: bytes) -> None:
        self._payload += len(piece)
        self._current.body.append(piece)  # type: ignore[union-attr]

    def on_chunk_header(self) -> None:
        self._chunks += 1

    def on_message_complete(self) -> None:
        request = self._current
        if request is None or self._priming:
            return
        if self._parser.should_upgrade() and request.framed:  # type: ignore[union-attr]
            return  # its body is still to come: _ignore_upgrade() prepares for it
        request.complete = True
        self._current = None

    # Decisions.

    def _refuse(self, status: int, reason: str) -> NoReturn:
        """Records the error and stops llhttp. Only from a callback of llhttp."""
        self.error = HTTPError(status, reason)
        raise self.error

    def _fail(self, error: HTTPError) -> None:
        if self.error is None:
            self.error = error

    def _verdict(self, e: HttpParserError) -> HTTPError:
        """The status for an error of llhttp: 501 for a method that it does not know, else 400."""
        if self._current is not None:
            return HTTPError(400, "body-framing")
        if isinstance(e, HttpParserInvalidMethodError) and _METHOD.match(self._seen_of_head()):
            return HTTPError(501, "method")  # the bytes look like a method, not like a TLS hello
        return HTTPError(400, "malformed")

    def _seen_of_head(self) -> bytes:
        return bytes(self._head) + bytes(self._piece) if self._head else bytes(self._piece)

    def _check_protocol_name(self) -> None:
        """llhttp accepts RTSP/1.x and ICE/1.x as HTTP/1.x and does not tell which it read."""
        seen = self._seen_of_head()
        if not seen.endswith((b" HTTP/1.1", b" HTTP/1.0"), 0, seen.find(b"\r\n")):
            self._refuse(505, "protocol-name")

    def _read_framing(self, request: Request) -> None:
        """Applies RFC 9112, 3.2, 6.1 and 6.3 where llhttp is too lenient."""
        hosts = 0
        for name, value in request.headers:
            # All names that matter here differ in length, so any other name costs one len().
            size = len(name)
            if size == 4:
                hosts += name.lower() == b"host"
            elif size == 17 and name.lower() == b"transfer-encoding":
                if request.version == "1.0":
                    self._refuse(400, "chunked-in-1.0")
                if request.chunked or value.strip(b" \t").lower() != b"chunked":
                    self._refuse(400, "transfer-encoding")
                request.chunked = True
                # The head decides whether the connection is kept. Without this switch llhttp would
                # let a `Connection: close` among the trailers decide.
                self._parser.set_dangerous_leniencies(lenient_keep_alive=True)  # type: ignore[union-attr]
            elif size == 14 and name.lower() == b"content-length":
                request.content_length = int(value)  # llhttp has checked: digits, and given once
            elif size == 10 and name.lower() == b"connection":
                # RFC 9112, 9.3: `close` wins in every version, over any other token.
                if b"close" in (token.strip() for token in value.lower().split(b",")):
                    request.keep_alive = False
            elif size == 6 and name.lower() == b"expect" and request.version == "1.1":
                if value.strip(b" \t").lower() != b"100-continue":
                    self._refuse(417, "expectation")
                request.expects_continue = True
        if hosts != 1 and (hosts or request.version == "1.1"):
            self._refuse(400, "host-count")

    # Bounds, and what llhttp does not do right.

    def _ignore_upgrade(self) -> None:
        """Goes on with a new llhttp parser: the old one stops at any Upgrade and drops the framing.

        The new one is first fed a head that has the framing only. So a body behind the Upgrade
        (`curl --http2 -d` sends one), and the request behind it, are parsed correctly.
        """
        parser = self._parser = HttpRequestParser(self)
        request = self._current
        if request is None:
            return
        framing = b"Content-Length: %d" % request.content_length
        if request.chunked:
            framing = b"Transfer-Encoding: chunked"
            parser.set_dangerous_leniencies(lenient_keep_alive=True)
        self._priming = True
        parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + _EMPTY_LINE)
        self._priming = False
        self._begun = False
        self._headers = []
        self._head_size = 0

    def _hold_head(self, part: bytes) -> None:
        """Bounds the size of an unfinished head: llhttp would keep a header line of any length."""
        self._head += part
        limits = self._limits
        if len(self._head) > limits.request_line + limits.header_block + 64:
            self._fail(HTTPError(431, "header-block-too-long"))

    def _count_overhead(self, size: int) -> None:
        """Bounds chunk extensions and trailers.

        The bound grows with the data, so that signed chunks (AWS: 85 bytes for each) pass in a body
        of any length.
        """
        self._fed += size
        overhead = self._fed - self._payload - _CHUNK_FRAMING * self._chunks
        if overhead > self._limits.chunk_overhead + self._payload // 4:
            self._fail(HTTPError(400, "chunk-overhead"))

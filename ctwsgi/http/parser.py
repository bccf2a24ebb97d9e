"""Bytes to requests: httptools (llhttp) tokenises, this file decides what is let through.

llhttp refuses most of what smuggles requests (bare LF, obs-fold, Content-Length beside
Transfer-Encoding, odd chunk sizes). Left to us, each measured: it limits no sizes; it hands
trailers to on_header; it takes `gzip, chunked`, chunked in HTTP/1.0, and the protocol names RTSP
and ICE; it forgets the body of a request that asks for an upgrade.
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

_CHUNK_FRAMING = 16
"""Bytes of framing that each chunk may cost before it counts as overhead: size line and CRLFs."""

_RECEIVED_AT_ONCE = 65536
"""Bytes that may stand before an unfinished head in the piece that brought its beginning."""

_METHOD = re.compile(rb"[\r\n]*[!#$%&'*+.^_`|~0-9A-Za-z-]+( |\Z)")
"""A token, whole or cut off by the end of what was received (RFC 9110, 9.1 and 5.6.2)."""

_BLANK_LIMIT = 1024
"""Bytes of CRLF before a request: RFC 9112, 2.2 wants some ignored, not any number."""


class RequestParser:
    """`feed()` bytes, take Requests from `requests`; after an `error` nothing more is parsed.

    Requests that were complete before the error stay valid: answer them first.
    """

    __slots__ = (
        "_begun",
        "_blank",
        "_chunks",
        "_current",
        "_fed",
        "_head",
        "_head_size",
        "_headers",
        "_limits",
        "_messages",
        "_parser",
        "_payload",
        "_piece",
        "_pipelined",
        "_priming",
        "_target",
        "error",
        "requests",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.requests: deque[Request] = deque()
        self.error: HTTPError | None = None
        self._current: Request | None = None  # whose body is arriving
        self._begun = False  # a head is arriving
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_size = 0
        self._head = bytearray()  # earlier pieces of an unfinished head
        self._piece: bytes | memoryview = b""  # what is being fed now
        self._messages = 0  # begun before, or ended within, the piece that is being fed
        self._pipelined = False  # the head began somewhere within a piece
        self._blank = 0
        self._fed = self._payload = self._chunks = 0  # of the body, since its first whole piece
        self._priming = False
        self._parser: HttpRequestParser | None = self._new_parser()

    @property
    def idle(self) -> bool:
        """Between messages: nothing of a next request has been seen."""
        return self._current is None and not self._begun

    @property
    def ahead(self) -> bool:
        """The client has sent more than the request that was taken last."""
        return bool(self.requests) or not self.idle or self.error is not None

    def close(self) -> None:
        """Breaks the reference cycle with llhttp's callbacks, so that no garbage collector runs."""
        self._parser = None

    def feed(self, data: bytes | memoryview) -> None:
        """Parses what has just been received."""
        if self.error is not None:
            return
        body_of = self._current
        self._messages = 0 if self.idle else 1
        self._piece = data
        self._execute(data)
        self._piece = b""
        if self._begun:
            self._hold_head(data)
        elif self._current is not None:
            self._count_overhead(body_of, len(data))
        elif body_of is None and not self.requests:
            self._blank += len(data)
            if self._blank > _BLANK_LIMIT:
                self._fail(HTTPError(400, "blank-lines"))

    def _execute(self, data: bytes | memoryview) -> None:
        while data:
            try:
                self._parser.feed_data(data)  # type: ignore[union-attr]
                return
            except HttpParserUpgrade as e:
                data = memoryview(data)[e.args[0] :]
                self._ignore_upgrade()
            except HttpParserError as e:
                self._fail(self._verdict(e))
                return

    # What llhttp calls, in the order of a message.

    def on_message_begin(self) -> None:
        self._begun = True
        self._pipelined = self._messages > 0
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
        self._head_size += len(name) + len(value) + 4
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
        if version != "1.1":
            if version != "1.0":
                self._refuse(505, "version")
            self._check_protocol_name(method)
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
        if self._head:
            self._head = bytearray()
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
            return  # the body is still to come: _ignore_upgrade() sees to it
        request.complete = True
        self._current = None
        self._messages += 1

    # Decisions.

    def _refuse(self, status: int, reason: str) -> NoReturn:
        """From within a callback: records the error and stops llhttp."""
        self.error = HTTPError(status, reason)
        raise self.error

    def _fail(self, error: HTTPError) -> None:
        if self.error is None:
            self.error = error

    def _verdict(self, e: HttpParserError) -> HTTPError:
        """llhttp's complaint as a status: 501 for a method it does not know, else 400."""
        if isinstance(e, HttpParserInvalidMethodError) and self._is_method():
            return HTTPError(501, "method")
        return HTTPError(400, "malformed" if self._current is None else "body-framing")

    def _is_method(self) -> bool:
        """A token where the method should be, rather than a TLS hello or other noise."""
        if self._pipelined:
            return True  # where in the piece it stands is not known; a client of ours got here
        return _METHOD.match(self._head + self._piece) is not None

    def _check_protocol_name(self, method: bytes) -> None:
        """llhttp takes RTSP/1.0 and ICE/1.0 for HTTP/1.0 and does not tell which it was."""
        line = b"%b +%b +(RTSP|ICE)/" % (re.escape(method), re.escape(self._target))
        # Where a pipelined head begins in its piece is not known: there, whatever looks like such
        # a line counts, which harms nobody but the sender of both.
        find = re.search if self._pipelined else re.match
        if find(line if self._pipelined else b"[\r\n]*" + line, self._head + self._piece):
            self._refuse(505, "protocol-name")

    def _read_framing(self, request: Request) -> None:
        """RFC 9112, 3.2, 6.1 and 6.3, where llhttp is more lenient than we want to be."""
        hosts = 0
        for name, value in request.headers:
            # The names that matter here have 4, 6, 10, 14 or 17 letters: the rest costs one len().
            size = len(name)
            if size == 4:
                hosts += name.lower() == b"host"
            elif size == 17 and name.lower() == b"transfer-encoding":
                if request.version == "1.0":
                    self._refuse(400, "chunked-in-1.0")
                if request.chunked or value.strip(b" \t").lower() != b"chunked":
                    self._refuse(400, "transfer-encoding")
                request.chunked = True
            elif size == 14 and name.lower() == b"content-length":
                request.content_length = int(value)  # llhttp took digits only, once
            elif size == 10 and name.lower() == b"connection":
                # RFC 9112, 9.3: `close` wins in every version, whatever stands beside it.
                if b"close" in (token.strip() for token in value.lower().split(b",")):
                    request.keep_alive = False
            elif size == 6 and name.lower() == b"expect" and request.version == "1.1":
                if value.strip(b" \t").lower() != b"100-continue":
                    self._refuse(417, "expectation")
                request.expects_continue = True
        if hosts != 1 and (hosts or request.version == "1.1"):
            self._refuse(400, "host-count")

    # Bounds and repairs.

    def _new_parser(self) -> HttpRequestParser:
        parser = HttpRequestParser(self)
        # Whether the connection goes on was decided when the head was frozen. Without this, a
        # `Connection: close` among the trailers makes llhttp refuse the next request.
        parser.set_dangerous_leniencies(lenient_keep_alive=True)
        return parser

    def _ignore_upgrade(self) -> None:
        """llhttp stops at any Upgrade and drops the body's framing: go on with a new parser.

        It is primed with a head that carries nothing but the framing, so that a body
        (`curl --http2 -d` sends one) and what follows it are read as what they are.
        """
        parser = self._parser = self._new_parser()
        request = self._current
        if request is None:
            return
        self._priming = True
        if request.chunked:
            parser.feed_data(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        else:
            parser.feed_data(
                b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % request.content_length
            )
        self._priming = False
        self._begun = False
        self._headers = []
        self._head_size = 0

    def _hold_head(self, data: bytes | memoryview) -> None:
        """Bounds what llhttp keeps of an unfinished head: it collects a header line without end."""
        self._head += data
        limits = self._limits
        if len(self._head) > limits.request_line + limits.header_block + _RECEIVED_AT_ONCE:
            self._fail(HTTPError(431, "header-block-too-long"))

    def _count_overhead(self, body_of: Request | None, size: int) -> None:
        """Bounds chunk extensions and trailers. The piece that brought the head does not count."""
        if body_of is not self._current:
            self._fed = self._payload = self._chunks = 0
            return
        self._fed += size
        plain = self._payload + _CHUNK_FRAMING * self._chunks
        if self._fed - plain > self._limits.chunk_overhead:
            self._fail(HTTPError(400, "chunk-overhead"))

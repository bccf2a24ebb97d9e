# SPDX-License-Identifier: MIT
"""One connection, from accept to close: learn the origin, then answer requests one at a time.

Each connection runs in its own greenlet. The origin is learnt once, from the first bytes or from
the kernel, and holds for every request on the connection.
"""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING, Any

from gevent.exceptions import ConcurrentObjectUseError

from ..errors import OriginError, Reason
from ..http import environ as http_environ
from ..http.body import Body
from ..http.errors import PHRASES, BodyError, DeadlineExceeded, Disconnected, HTTPError
from ..http.parser import RequestParser
from ..http.response import Response
from ..linux import normal_address
from ..origin import Origin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..http.channel import Buffer
    from ..http.request import Request
    from ..source import OriginStage
    from .shared import ServerShared
    from .transport import SocketTransport

_LINGER_BYTES = 1 << 24
"""How many bytes a client may still send while a closing connection lingers."""


class Idle(Exception):
    """Thrown into a connection that waits for its client while the server is being stopped."""


class ServedConnection:
    """One client of the server. Implements http.channel.Channel."""

    __slots__ = (
        "_base",
        "_body_budget",
        "_broken",
        "_origin",
        "_parser",
        "_request",
        "_shared",
        "_stage",
        "idle_since",
        "peer",
        "transport",
    )

    def __init__(self, shared: ServerShared, transport: SocketTransport, sockaddr: Any) -> None:
        self._shared = shared
        self.transport = transport
        self.peer = normal_address(sockaddr)
        self._parser = RequestParser(shared.limits)
        self._stage: OriginStage | None = None
        self._origin: Origin | None = None
        self._base: dict[str, Any] | None = None
        self._request: Request | None = None
        self._broken = False
        self._body_budget = 0.0  # seconds that the client has left for this body
        self.idle_since = inf
        """Since when (monotonic seconds) it waits for a request's first byte; inf: it does not."""

    @property
    def closing(self) -> bool:
        return self._shared.draining and not self._parser.next_begun

    def run(self) -> None:
        """Serves the connection. The socket is closed when this returns, whatever happens."""
        outcomes = self._shared.outcomes
        self.transport.resumed = time.monotonic()
        try:
            self._learn_origin()
            self._serve()
        except OriginError as e:
            outcomes.refused(e, self.peer)
        except DeadlineExceeded as e:
            outcomes.counters[f"timeout:{e.which}"] += 1
        except Disconnected:
            outcomes.counters["disconnected"] += 1
        except Idle:
            pass
        except Exception:
            outcomes.log.exception("error in the server, a bug: please report it")
        finally:
            self._parser.close()
            self.transport.close()

    # The origin.

    def _learn_origin(self) -> None:
        """Receives until the source knows the origin; bytes behind the header go to the parser."""
        shared = self._shared
        transport = self.transport
        self._allow("origin", shared.timeouts.origin)
        transport.handshake()
        learnt = shared.source.accept(transport.sock, self.peer, shared.bound)
        if isinstance(learnt, Origin):
            self._origin = learnt
            if learnt.orig_dst is None and shared.source.name != "none":
                shared.outcomes.counters["not-redirected"] += 1
            return
        self._stage = learnt
        try:
            while learnt.origin is None:
                if not self._receive():
                    return
        except DeadlineExceeded:
            raise OriginError(Reason.ORIGIN_TIMEOUT, "the header did not come") from None
        self._origin = learnt.origin

    def _environ_base(self) -> dict[str, Any]:
        origin = self._origin
        assert origin is not None
        base = {**self._shared.environ, **origin.environ()}
        client = origin.orig_src
        base["REMOTE_ADDR"] = client[0] if client else ""
        base["REMOTE_PORT"] = str(client[1]) if client else ""
        if "SERVER_NAME" not in base:  # a wildcard listener: the address that was reached
            local = normal_address(self.transport.sock.getsockname())
            assert local is not None
            base["SERVER_NAME"] = local[0]
        return base

    # Bytes in.

    def _allow(self, which: str, timeout: float) -> float:
        """Sets the receiving deadline `timeout` seconds from now; 0 is no deadline. Returns now."""
        side = self.transport.receiving
        side.which = which
        now = time.monotonic()
        side.deadline = now + timeout if timeout else inf
        return now

    def _receive(self) -> bool:
        """One recv() through the origin's stage into the parser. False at the end of the stream."""
        self.transport.share()
        buffer = self._shared.buffer
        size = self.transport.recv_into(buffer)
        stage = self._stage
        if stage is not None:
            if size == 0:
                stage.eof()
                return False
            size = stage.strip(buffer, size)
            if stage.done:
                self._stage = None
            if size == 0:
                return True
        elif size == 0:
            return False
        self._parser.feed(memoryview(buffer)[:size])
        return True

    def receive_body(self) -> None:
        """Channel: receives more of the request's body. BodyError when the body breaks off."""
        parser, request, side = self._parser, self._request, self.transport.receiving
        assert request is not None
        if parser.error is not None:
            raise BodyError(f"request body: {parser.error.reason}", parser.error)
        if parser.resume():
            return
        timeout = self._shared.timeouts.body
        began = time.monotonic()
        side.which = "body"
        side.deadline = began + self._body_budget if timeout else inf
        try:
            if not self._receive():
                raise BodyError("the client closed in the middle of the request body")
        except Idle:
            raise BodyError("the server is being stopped") from None
        except DeadlineExceeded:
            self._shared.outcomes.counters["timeout:body"] += 1
            parser.error = HTTPError(408, "body")
            raise BodyError("the request body took too long", parser.error) from None
        except OriginError as e:
            self._shared.outcomes.refused(e, self.peer)
            parser.error = HTTPError(400, "origin")
            raise BodyError("the origin's framing broke in the request body") from e
        except Disconnected as e:
            raise BodyError(f"the client was lost in the middle of the request body: {e}") from e
        finally:
            side.deadline = inf  # while the application works, the client has no deadline
        # Each byte adds time, so that neither a stalled body nor a slow one lasts for ever.
        earned = sum(map(len, request.body)) / self._shared.limits.body_rate
        left = self._body_budget - (time.monotonic() - began)
        self._body_budget = min(timeout, left + earned)

    def _next_request(self) -> Request | None:
        """Blocks until a request's head is complete. None: the client has finished sending."""
        parser, transport = self._parser, self.transport
        side = transport.receiving
        if not parser.idle:  # a part came with the origin, or with the request before
            self.idle_since = inf
        while not parser.requests:
            if parser.error is not None:
                raise parser.error
            if parser.resume():
                transport.share()
                continue
            if side.which == "keepalive" and parser.idle:
                # Usually nothing has arrived yet: waiting first saves a useless recv().
                transport.wait_readable()
            if not self._receive():
                return None
            if parser.idle:
                continue  # empty lines between requests, or a whole request
            self.idle_since = inf
            if side.which == "keepalive":
                self._allow("request", self._shared.timeouts.request)
        self.idle_since = inf
        return parser.requests.popleft()

    # Bytes out.

    def send(self, data: Buffer) -> None:
        """Sends `data`, for http.channel.Channel. Disconnected when the client is gone."""
        if self._broken:
            raise Disconnected("an earlier send broke off")
        self.transport.share()
        try:
            self.transport.send(data)
        except BaseException as e:
            self._broke_off(e)
            raise

    def send_parts(self, parts: Sequence[Buffer]) -> None:
        """As send(), for several pieces."""
        if self._broken:
            raise Disconnected("an earlier send broke off")
        self.transport.share()
        try:
            self.transport.send_parts(parts)
        except BaseException as e:
            self._broke_off(e)
            raise

    def _broke_off(self, error: BaseException) -> None:
        """A send failed part-way: nothing more may be sent, or the client would see a gap."""
        if not isinstance(error, ConcurrentObjectUseError):
            self._broken = True
        if isinstance(error, Idle):
            raise Disconnected("the server is being stopped") from None

    # Requests.

    def _serve(self) -> None:
        shared, timeouts = self._shared, self._shared.timeouts
        self._allow("request", timeouts.request)
        try:
            while (request := self._next_request()) is not None:
                if not self._respond(request):
                    return
                if self._parser.idle:
                    self.idle_since = self._allow("keepalive", timeouts.keepalive)
                else:  # a part of the next request came with this one
                    self._allow("request", timeouts.request)
        except HTTPError as e:
            self._refuse(e, head_only=self._parser.head_only)
        except DeadlineExceeded as e:
            if e.which != "request" or self._parser.idle:
                raise
            shared.outcomes.counters["timeout:request"] += 1
            self._refuse(HTTPError(408, "request"), head_only=self._parser.head_only)

    def _respond(self, request: Request) -> bool:
        """Answers one request. True when the connection may carry another."""
        shared = self._shared
        started = time.monotonic() if shared.outcomes.access is not None else 0.0
        base = self._base
        if base is None:
            base = self._base = self._environ_base()
        self._request = request
        try:
            environ = http_environ.build(base, request)
        except HTTPError as e:
            self._refuse(e, head_only=request.method == "HEAD")
            return False
        body = environ["wsgi.input"] = Body(self, request)
        transport = self.transport
        transport.receiving.deadline = inf
        transport.receiving.which = "application"
        self._body_budget = shared.timeouts.body
        response = Response(self, request, shared.outcomes.log)
        whole = self._run(response, environ)
        body.close()
        response.close()
        shared.outcomes.answered(environ, response, started)
        if not whole or self._broken or shared.cutting:
            return False
        if transport.receiving.greenlet is not None or transport.sending.greenlet is not None:
            return False  # another greenlet of the application still uses the transport
        if response.closes or response.truncated:
            if request.keep_alive or not request.complete or self._parser.ahead:
                self._linger()
            return False
        return request.complete or self._drain(request)

    def _run(self, response: Response, environ: dict[str, Any]) -> bool:
        """Runs the application. False when the connection must end or has ended."""
        shared = self._shared
        try:
            response.run(shared.application, environ)
            return True
        except (Disconnected, DeadlineExceeded):  # the client is gone, or it takes no data
            shared.outcomes.counters["disconnected"] += 1
        except BodyError as e:
            if e.answer is not None:
                self._give_up(response, e.answer)
        except (Idle, KeyboardInterrupt):
            raise
        except BaseException:
            # Also sys.exit() and an uncaught gevent.Timeout: they end the request, not the server.
            # RAW_URI, because PATH_INFO is decoded and could contain a line break.
            shared.outcomes.log.exception(
                "error in the application: %s %s", environ["REQUEST_METHOD"], environ["RAW_URI"]
            )
            shared.outcomes.counters["application-error"] += 1
            self._give_up(response, HTTPError(500, "application"))
        return False

    def _give_up(self, response: Response, error: HTTPError) -> None:
        """Tells the client that its request failed, if the response has not begun."""
        request = self._request
        assert request is not None
        if not response.head_sent:
            response.status = f"{error.status} {PHRASES[error.status]}"
            self._refuse(error, head_only=request.method == "HEAD")
        elif response.ends_with_connection:
            self.transport.reset()

    def _refuse(self, error: HTTPError, *, head_only: bool) -> None:
        shared = self._shared
        if error.status != 500:
            shared.outcomes.bad_request(error, self.peer)
        try:
            self.send(error.reply(head_only=head_only))
            self._linger()
        except (Disconnected, DeadlineExceeded):
            pass  # the client is gone: nobody reads the answer

    def _drain(self, request: Request) -> bool:
        """Reads the rest of a body that the application did not read, up to a bound."""
        left = self._shared.limits.drain
        try:
            while True:
                while request.body:
                    left -= len(request.body.popleft())
                if request.complete:
                    return True
                if left < 0:
                    break
                self.receive_body()
        except BodyError as e:
            # The response has been sent, so this error gets no answer, only a count.
            if e.answer is not None:
                self._shared.outcomes.bad_request(e.answer, self.peer)
        self._linger()
        return False

    def _linger(self) -> None:
        """Sends FIN and waits for the client to close.

        If the socket were closed with unread input, the kernel would send RST and the client might
        lose the answer.
        """
        transport, shared = self.transport, self._shared
        if shared.cutting or not shared.timeouts.linger:
            return
        self._allow("linger", shared.timeouts.linger)
        left = _LINGER_BYTES
        try:
            transport.finish_sending()
            while left > 0 and (size := transport.recv_into(shared.buffer)):
                left -= size
        except (Disconnected, DeadlineExceeded):
            pass

# SPDX-License-Identifier: MIT
"""A row of the conformance table, the application that records its calls, and the check.

A row has the bytes that a client sends on one connection, the expected answers in order, and the
state of the connection afterwards. Each answer includes what the application must have seen, so
that an answer to a wrong request, or to a smuggled one, is a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .apps import APPS
from .wire import Broken, Client, probe, until


@dataclass(frozen=True)
class Answer:
    """An expected response, and what the application must have seen when it was called."""

    status: tuple[int, ...]
    called: bool | None = True
    """None: the application may have been called, but must not have read a complete body."""
    method: str = "GET"
    path: str = "/"
    query: str = ""
    body: bytes | None = b""
    """What the application reads from wsgi.input. None: reading fails with an OSError."""
    environ: Mapping[str, Any] = field(default_factory=dict)
    """Expected values of environ. A frozenset means one of its values."""
    absent: tuple[str, ...] = ()
    """Keys that environ must not have."""
    sends: bytes | None = None
    """The response's body, if it is not the request's body."""
    headers: Mapping[str, str | None] = field(default_factory=dict)
    """Expected response headers. None: the response must not have it."""
    framing: str | None = None


@dataclass(frozen=True)
class Case:
    clause: str
    name: str
    request: bytes
    answers: tuple[Answer, ...]
    stays: bool | None
    """Whether the connection answers another request afterwards. None: it may."""
    eof: bool = False
    """The client sends a FIN after the request."""
    breaks: str | None = None
    """The path of a last call, after the answers, whose response begins and breaks off."""
    rude: bool = False
    """The client sends more after `Connection: close`: a reset after the answer is allowed."""
    late: bool = False
    """The server learns that it must close after it has sent the head of its answer."""
    aborts: bool = False
    """The body ends too early: a last call, whose read fails and which gets no answer."""

    @property
    def id(self) -> str:
        return f"{self.clause}: {self.name}"


class Table(list[Case]):
    """Collects rows. A row whose last answer is a refusal ends its connection."""

    def case(
        self,
        clause: str,
        name: str,
        request: bytes,
        *answers: Answer,
        stays: bool | None = True,
        eof: bool = False,
        rude: bool = False,
        late: bool = False,
    ) -> None:
        if any(200 not in a.status for a in answers):
            stays = False
        self.append(Case(clause, name, request, answers, stays, eof, rude=rude, late=late))


def lines(*head: bytes, body: bytes = b"") -> bytes:
    """A request: each line with CRLF, an empty line, the body."""
    return b"\r\n".join((*head, b"", b"")) + body


def get(*headers: bytes, target: bytes = b"/", body: bytes = b"", method: bytes = b"GET") -> bytes:
    """A valid HTTP/1.1 request, plus `headers` and `body`."""
    return lines(method + b" " + target + b" HTTP/1.1", b"Host: x", *headers, body=body)


def post(*headers: bytes, body: bytes = b"", target: bytes = b"/") -> bytes:
    return get(*headers, target=target, body=body, method=b"POST")


def chunked(*parts: bytes, trailer: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in parts) + b"0\r\n" + trailer + b"\r\n"


def ok(path: str = "/", **expected: Any) -> Answer:
    return Answer((200,), path=path, **expected)


def refused(*status: int) -> Answer:
    """An answer of the server itself, without a call of the application."""
    return Answer(status or (400,), called=False)


def broken_body(*status: int) -> Answer:
    """A valid head and a broken body: reading fails, and never returns a complete body."""
    return Answer(status or (400,), called=None)


def aborted(clause: str, name: str, request: bytes) -> Case:
    """The client ends in mid-body: reading fails, and there is no answer."""
    return Case(clause, name, request, (), stays=False, eof=True, aborts=True)


class Recorder:
    """The table's application: records each call, and answers with the body that it read."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/probe":
            start_response("200 OK", [("Content-Length", "5")])
            return [b"probe"]
        call: dict[str, Any] = {"environ": dict(environ), "body": b"", "done": False}
        self.calls.append(call)
        try:
            app = APPS.get(path.removeprefix("/app/")) if path.startswith("/app/") else None
            if app is not None:
                return app(environ, start_response)
            try:
                call["body"] = environ["wsgi.input"].read()
            except OSError:
                call["body"] = None
                raise
            start_response("200 OK", [("Content-Type", "application/octet-stream")])
            return [call["body"]]
        finally:
            call["done"] = True


def _check_call(case: Case, expected: Answer, call: dict[str, Any], index: int) -> None:
    where = f"request {index + 1}"
    environ = call["environ"]
    if expected.called is None:
        assert call["body"] is None, f"{where}: a broken body looked whole: {call['body']!r}"
        return
    got = (environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"], call["body"])
    want = (expected.method, expected.path, expected.query, expected.body)
    if expected.path.startswith("/app/"):
        got, want = got[:3], want[:3]
    assert got == want, f"{where}: the application saw {got}, not {want}"
    for key, value in expected.environ.items():
        if isinstance(value, frozenset):
            assert environ.get(key) in value, f"{where}: {key} is {environ.get(key)!r}"
            continue
        assert environ.get(key) == value, f"{where}: {key} is {environ.get(key)!r}, not {value!r}"
    for key in expected.absent:
        assert key not in environ, f"{where}: {key} is {environ[key]!r}, should not be there"


def _check_response(expected: Answer, client: Client, index: int) -> None:
    where = f"response {index + 1}"
    r = client.response(expected.method)
    assert r.status in expected.status, f"{where}: {r.status} {r.reason} {r.body[:200]!r}"
    # The body of the server's own 500 is not specified.
    if expected.called and expected.method != "HEAD" and r.status not in (204, 304, 500):
        body = expected.body if expected.sends is None else expected.sends
        assert r.body == body, f"{where}: body {r.body[:200]!r}, not {body!r}"
    for name, value in expected.headers.items():
        assert r[name] == value, f"{where}: {name}: {r[name]!r}, not {value!r}"
    if expected.framing is not None:
        assert r.framing == expected.framing, f"{where}: framed by {r.framing}"
    client.last = r  # type: ignore[attr-defined]


def _check_end(case: Case, client: Client) -> None:
    last = getattr(client, "last", None)
    if case.breaks is not None:
        try:
            r = client.response()
        except Broken:
            assert not client._more(), "the connection outlived a broken response"
            return
        raise AssertionError(f"a broken response looks whole: {r}")
    if case.stays is None:
        is_open = probe(client)
    elif case.stays:
        is_open = probe(client)
        assert is_open, "the connection was closed"
    else:
        assert client.ended(reset=case.rude)
        is_open = False
    # A server that learns too late that it must close cannot announce it.
    late = case.late or case.stays is None
    if not late and last is not None and last.framing != "close" and not case.eof:
        assert last.says_close is not is_open, f"open: {is_open}, but the header says otherwise"


def check(
    case: Case,
    recorder: Recorder,
    address: Any,
    pieces: Iterable[bytes] | None,
    connect: Callable[[Any], Client] = Client,
) -> None:
    """Plays one row, at once or, with `pieces`, each piece in a recv() of its own."""
    recorder.calls.clear()
    with connect(address) as client:
        if pieces is None:
            client.send(case.request)
        else:
            client.send_apart(pieces)
        if case.eof:
            client.finish()
        for index, expected in enumerate(case.answers):
            _check_response(expected, client, index)
        _check_end(case, client)
    calls = recorder.calls
    expected_calls = [a for a in case.answers if a.called]
    if case.breaks is not None:
        expected_calls.append(Answer((), path=case.breaks))
    if case.aborts:
        expected_calls.append(Answer((), called=None))
        until(lambda: len(calls) >= len(expected_calls), "the application to be called")
    maybe = [a for a in case.answers if a.called is None]
    until(lambda: all(c["done"] for c in calls), "the application to end")
    names = [c["environ"]["PATH_INFO"] for c in calls]
    if maybe and len(calls) == len(expected_calls) + 1:
        expected_calls += maybe
    assert len(calls) == len(expected_calls), f"the application was called for {names}"
    for index, (expected, call) in enumerate(zip(expected_calls, calls, strict=True)):
        _check_call(case, expected, call, index)

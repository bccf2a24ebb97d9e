# SPDX-License-Identifier: MIT
"""One row of the conformance table, the application that records what it saw, and the check.

A row is the bytes of one connection, the answers to expect in order, and what becomes of the
connection. What the application saw is part of each answer, so that "200" for the wrong request,
or a second request smuggled in, is a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .apps import APPS
from .wire import Broken, Client, probe, until


@dataclass(frozen=True)
class Answer:
    """One expected response and, when the application was called, what it must have seen."""

    status: tuple[int, ...]
    called: bool | None = True
    """None: the application may or may not have been called, but must not have got a whole body."""
    method: str = "GET"
    path: str = "/"
    query: str = ""
    body: bytes | None = b""
    """What the application reads from wsgi.input; None: reading fails with an OSError."""
    environ: Mapping[str, Any] = field(default_factory=dict)
    """What environ must hold; a frozenset for one of several values."""
    absent: tuple[str, ...] = ()
    """environ keys that must not be there."""
    sends: bytes | None = None
    """The response's body, where it is not the echo of the request's."""
    headers: Mapping[str, str | None] = field(default_factory=dict)
    """Response headers to expect; None: must not be there."""
    framing: str | None = None


@dataclass(frozen=True)
class Case:
    clause: str
    name: str
    request: bytes
    answers: tuple[Answer, ...]
    stays: bool | None
    """Whether the connection answers another request afterwards; None: it may."""
    eof: bool = False
    """The client closes its sending side after the request."""
    breaks: str | None = None
    """The path of one more call, after the answers, whose response begins and breaks off."""
    rude: bool = False
    """The client says close and sends more all the same: a reset after the whole answer is fair."""
    late: bool = False
    """The server learns that it must close when the head of its answer is out."""
    aborts: bool = False
    """The body ends too early: one more call, whose read fails, and no answer to it."""

    @property
    def id(self) -> str:
        return f"{self.clause}: {self.name}"


class Table(list[Case]):
    """Rows as they are written down; a row with a refusal ends its connection."""

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
    """A request: CRLF after each line, the empty line, the body."""
    return b"\r\n".join((*head, b"", b"")) + body


def get(*headers: bytes, target: bytes = b"/", body: bytes = b"", method: bytes = b"GET") -> bytes:
    """A well-formed HTTP/1.1 request but for what `headers` and `body` add to it."""
    return lines(method + b" " + target + b" HTTP/1.1", b"Host: x", *headers, body=body)


def post(*headers: bytes, body: bytes = b"", target: bytes = b"/") -> bytes:
    return get(*headers, target=target, body=body, method=b"POST")


def chunked(*parts: bytes, trailer: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in parts) + b"0\r\n" + trailer + b"\r\n"


def ok(path: str = "/", **expected: Any) -> Answer:
    return Answer((200,), path=path, **expected)


def refused(*status: int) -> Answer:
    """Answered by the server itself; the application never hears of it."""
    return Answer(status or (400,), called=False)


def broken_body(*status: int) -> Answer:
    """The head was fine, the body is not: a reader gets an error, never a body that looks whole."""
    return Answer(status or (400,), called=None)


def aborted(clause: str, name: str, request: bytes) -> Case:
    """The client ends in mid-body: the application learns of it, nobody is left to be answered."""
    return Case(clause, name, request, (), stays=False, eof=True, aborts=True)


class Recorder:
    """The application of the table: notes each call, answers with the body that it read."""

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
    # What the server says of its own 500 is its own business.
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
    # A server that finds out too late that it must close cannot have announced it.
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
    """Plays one row. `pieces` None: all at once; else each as a recv() of its own."""
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

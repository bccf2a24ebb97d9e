# SPDX-License-Identifier: MIT
"""The applications that table rows reach as /app/NAME, one for each thing that an app may do.

Those of clause 7 answer with the results of their reads, joined with `|`.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Environ = dict[str, Any]
App = Callable[[Environ, Any], Iterable[bytes]]
APPS: dict[str, App] = {}
CLOSED: list[str] = []
"""Names of the response iterables whose close() was called, in order."""


def app(name: str) -> Callable[[App], App]:
    def register(function: App) -> App:
        APPS[name] = function
        return function

    return register


def plain(start_response: Any, body: bytes, *headers: tuple[str, str]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), *headers])
    return [body]


# --- clause 7: reading -----------------------------------------------------------------------


def reader(name: str, read: Callable[[Any], Iterable[bytes]]) -> None:
    @app(name)
    def run(environ: Environ, start_response: Any) -> Iterable[bytes]:
        return plain(start_response, b"|".join(read(environ["wsgi.input"])))


reader("read", lambda i: [i.read()])
reader("read-none", lambda i: [i.read(None)])
reader("read-minus-one", lambda i: [i.read(-1)])
reader("read-3", lambda i: iter(lambda: i.read(3), b""))
reader("read-1", lambda i: iter(lambda: i.read(1), b""))
reader("read-huge", lambda i: [i.read(1 << 40)])
reader("read-zero", lambda i: [i.read(0) + i.readline(0) + i.read()])
reader("readline", lambda i: iter(i.readline, b""))
reader("readline-none", lambda i: iter(lambda: i.readline(None), b""))
reader("readline-minus-one", lambda i: iter(lambda: i.readline(-1), b""))
reader("readline-2", lambda i: iter(lambda: i.readline(2), b""))
reader("readline-4", lambda i: iter(lambda: i.readline(4), b""))
reader("readlines", lambda i: i.readlines())
reader("readlines-hint", lambda i: i.readlines(4))
reader("iterate", lambda i: i)
reader(
    "mixed",
    lambda i: [i.readline(), i.read(2), next(iter(i)), i.read(3), i.read(), i.read(), i.readline()],
)
reader(
    "past-the-end", lambda i: [i.read(), i.read(), i.read(5), i.readline(), b"".join(i.readlines())]
)
reader("read-2-only", lambda i: [i.read(2)])


def catcher(name: str, read: Callable[[Any], Any]) -> None:
    @app(name)
    def run(environ: Environ, start_response: Any) -> Iterable[bytes]:
        try:
            read(environ["wsgi.input"])
        except OSError:
            return plain(start_response, b"OSError")
        return plain(start_response, b"a short body passed for a whole one")


def _twice(i: Any) -> None:
    try:
        i.read()
    except OSError:
        i.read()  # a second read must fail as well, and not return EOF


catcher("catch-read", lambda i: i.read())
catcher("catch-readline", lambda i: list(iter(i.readline, b"")))
catcher("catch-iterate", lambda i: list(i))
catcher("catch-read-3", lambda i: list(iter(lambda: i.read(3), b"")))
catcher("catch-twice", _twice)


@app("ignore")
def _ignore(environ: Environ, start_response: Any) -> Iterable[bytes]:
    return plain(start_response, b"ignored")


# --- clause 6: responses ---------------------------------------------------------------------


class Body:
    """A response iterable that records its close()."""

    def __init__(self, name: str, parts: Iterable[bytes]) -> None:
        self.name = name
        self._parts = iter(parts)

    def __iter__(self) -> Iterator[bytes]:
        return self._parts

    def close(self) -> None:
        CLOSED.append(self.name)


def responds(
    name: str,
    parts: Callable[[], Any],
    *headers: tuple[Any, Any],
    status: Any = "200 OK",
) -> None:
    @app(name)
    def run(environ: Environ, start_response: Any) -> Any:
        start_response(status, list(headers))
        return parts()


def length(n: int) -> tuple[str, str]:
    return ("Content-Length", str(n))


def _raising(*parts: bytes) -> Callable[[], Iterator[bytes]]:
    def generate() -> Iterator[bytes]:
        yield from parts
        raise ValueError("the application fails, as the test wants")

    return generate


responds("list", lambda: [b"hello"])
responds("list-of-two", lambda: [b"hel", b"lo"])
responds("list-with-empty", lambda: [b"", b"hel", b"", b"lo", b""])
responds("tuple", lambda: (b"hello",))
responds("empty-list", list)
responds("list-of-empty", lambda: [b""])
responds("generator", lambda: iter([b"hel", b"lo"]))
responds("empty-generator", lambda: iter([]))
responds("generator-of-empty", lambda: iter([b"", b""]))
responds("generator-empty-first", lambda: iter([b"", b"hello"]))
responds("generator-with-length", lambda: iter([b"hel", b"lo"]), length(5))
responds("list-with-length", lambda: [b"hello"], length(5))
responds("length-in-any-case", lambda: [b"hello"], ("content-LENGTH", "5"))
responds("looks-chunked", lambda: iter([b"0\r\n\r\n", b"5\r\n"]))
responds("too-short", lambda: [b"hello"], length(10))
responds("too-short-generator", lambda: iter([b"hel", b"lo"]), length(10))
responds("nothing-of-length", list, length(10))
responds("too-long", lambda: [b"hello and more"], length(5))
responds("too-long-generator", lambda: iter([b"hel", b"lo", b" and", b" more"]), length(5))
responds("zero-but-body", lambda: [b"hello"], length(0))
responds("204", list, status="204 No Content")
responds("204-with-body", lambda: [b"hello"], status="204 No Content")
responds("204-with-length", lambda: [b"hello"], length(5), status="204 No Content")
responds("304", list, ("ETag", '"x"'), status="304 Not Modified")
responds("304-with-body", lambda: [b"hello"], status="304 Not Modified")
responds("304-with-length", list, length(5), status="304 Not Modified")
responds("205", list, status="205 Reset Content")
responds("304-generator", lambda: iter([b"hel", b"lo"]), status="304 Not Modified")
responds("204-generator", lambda: iter([b"hel", b"lo"]), status="204 No Content")
responds("404", lambda: [b"hello"], status="404 Not Found")
responds("no-reason", lambda: [b"hello"], status="299 ")
responds("odd-reason", lambda: [b"hello"], status="200 Tr\u00e8s bien")
responds("close", lambda: [b"hello"], ("Connection", "close"))
responds("close-in-list", lambda: [b"hello"], ("Connection", "foo, Close"))
responds("close-generator", lambda: iter([b"hel", b"lo"]), ("connection", "CLOSE"))
responds(
    "keep-alive", lambda: [b"hello"], ("Connection", "keep-alive"), ("Keep-Alive", "timeout=5")
)
responds(
    "hop-by-hop",
    lambda: [b"hello"],
    ("Connection", "foo"),
    ("Keep-Alive", "timeout=5"),
    ("TE", "trailers"),
    ("Upgrade", "h2c"),
    ("Proxy-Connection", "keep-alive"),
    ("X-Kept", "yes"),
)
responds("own-chunked", lambda: iter([b"hel", b"lo"]), ("Transfer-Encoding", "chunked"))
responds("own-chunked-list", lambda: [b"hello"], ("transfer-encoding", "chunked"))
responds("own-chunked-and-length", lambda: [b"hello"], ("Transfer-Encoding", "chunked"), length(5))
responds("own-date", lambda: [b"hello"], ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"))
responds("own-date-any-case", lambda: [b"hello"], ("dATE", "Sun, 06 Nov 1994 08:49:37 GMT"))
responds("own-server", lambda: [b"hello"], ("Server", "mine"))
responds("cookies", lambda: [b"hello"], ("Set-Cookie", "a=b"), ("Set-Cookie", "c=d"))
responds("latin-1", lambda: [b"hello"], ("X-A", "caf\u00e9"))
responds("empty-value", lambda: [b"hello"], ("X-A", ""))

RAISES = (
    ("lf-in-value", ("X-A", "b\nX-Evil: 1"), "200 OK"),
    ("cr-in-value", ("X-A", "b\rX-Evil: 1"), "200 OK"),
    ("crlf-in-value", ("X-A", "b\r\nX-Evil: 1"), "200 OK"),
    ("crlf-crlf-in-value", ("X-A", "b\r\n\r\n<html>"), "200 OK"),
    ("fold-in-value", ("X-A", "b\r\n c"), "200 OK"),
    ("nul-in-value", ("X-A", "b\0c"), "200 OK"),
    ("crlf-in-name", ("X-A\r\nX-Evil", "1"), "200 OK"),
    ("lf-in-name", ("X-A\nX-Evil", "1"), "200 OK"),
    ("colon-in-name", ("X-A:b", "1"), "200 OK"),
    ("space-in-name", ("X A", "1"), "200 OK"),
    ("empty-name", ("", "1"), "200 OK"),
    ("crlf-in-status", ("X-A", "b"), "200 OK\r\nX-Evil: 1"),
    ("lf-in-status", ("X-A", "b"), "200 OK\nX-Evil: 1"),
    ("not-latin-1", ("X-A", "\u20ac"), "200 OK"),
    ("bytes-value", ("X-A", b"b"), "200 OK"),
    ("bytes-name", (b"X-A", "b"), "200 OK"),
    ("number-value", ("X-A", 1), "200 OK"),
    ("bytes-status", ("X-A", "b"), b"200 OK"),
    ("status-without-number", ("X-A", "b"), "OK"),
    ("short-status", ("X-A", "b"), "20"),
    ("empty-status", ("X-A", "b"), ""),
    ("status-100", ("X-A", "b"), "100 Continue"),
    ("status-101", ("X-A", "b"), "101 Switching Protocols"),
    ("status-600", ("X-A", "b"), "600 Strange"),
    ("bad-length", ("Content-Length", "five"), "200 OK"),
    ("negative-length", ("Content-Length", "-5"), "200 OK"),
    ("empty-length", ("Content-Length", ""), "200 OK"),
)
"""Apps whose start_response must fail: name, header, status."""
for _name, _header, _status in RAISES:
    responds(_name, lambda: [b"hello"], _header, status=_status)
responds("two-lengths", lambda: [b"hello"], length(5), length(6))

responds("none", lambda: None)
responds("string", lambda: ["hello"])
responds("bare-string", lambda: "hello")
responds("number", lambda: [5])
responds("raises-first", _raising())
responds("raises-after-empty", _raising(b""))
responds("raises-after-data", _raising(b"hel"))
responds("raises-after-length", _raising(b"hel"), length(5))
responds("string-after-data", lambda: iter([b"hel", "lo"]))


@app("raises")
def _raises(environ: Environ, start_response: Any) -> Iterable[bytes]:
    raise ValueError("the application fails, as the test wants")


@app("raises-started")
def _raises_started(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("X-Lost", "1")])
    raise ValueError("the application fails, as the test wants")


@app("raises-oserror")
def _raises_oserror(environ: Environ, start_response: Any) -> Iterable[bytes]:
    raise FileNotFoundError("the application's own trouble, not the connection's")


@app("never-starts")
def _never_starts(environ: Environ, start_response: Any) -> Iterable[bytes]:
    return [b"hello"]


@app("never-starts-empty")
def _never_starts_empty(environ: Environ, start_response: Any) -> Iterable[bytes]:
    return []


@app("starts-late")
def _starts_late(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [length(5)])
    yield b"hello"


@app("starts-twice")
def _starts_twice(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [])
    start_response("200 OK", [])
    return [b"hello"]


def _fail(start_response: Any) -> None:
    try:
        raise ValueError("the application fails, as the test wants")
    except ValueError:
        start_response("503 Sorry", [("X-New", "1")], sys.exc_info())


@app("exc-info")
def _exc_info(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("X-Old", "1"), length(99)])
    _fail(start_response)
    return [b"sorry"]


@app("exc-info-first")
def _exc_info_first(environ: Environ, start_response: Any) -> Iterable[bytes]:
    _fail(start_response)
    return [b"sorry"]


@app("exc-info-late")
def _exc_info_late(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [])
    yield b"hel"
    _fail(start_response)
    yield b"must not be sent"


def writes(name: str, parts: list[bytes], rest: list[bytes], *headers: tuple[str, str]) -> None:
    @app(name)
    def run(environ: Environ, start_response: Any) -> Iterable[bytes]:
        write = start_response("200 OK", list(headers))
        for part in parts:
            write(part)
        return rest


writes("write", [b"hel", b"lo"], [])
writes("write-and-return", [b"hel"], [b"lo"])
writes("write-empty", [b"", b"hello", b""], [])
writes("write-with-length", [b"hel", b"lo"], [], length(5))
writes("write-too-long", [b"hello and more"], [b"more"], length(5))
writes("write-too-short", [b"hel"], [], length(5))


@app("write-then-exc-info")
def _write_then_exc_info(environ: Environ, start_response: Any) -> Iterable[bytes]:
    write = start_response("200 OK", [])
    write(b"hel")
    _fail(start_response)
    return [b"must not be sent"]


@app("headers-changed-later")
def _headers_changed_later(environ: Environ, start_response: Any) -> Iterable[bytes]:
    headers = [("X-A", "b")]
    start_response("200 OK", headers)
    yield b"hel"
    headers.append(("X-Late", "\r\n"))
    yield b"lo"


@app("closes")
def _closes(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [length(5)])
    return Body("closes", [b"hel", b"lo"])


@app("closes-raising")
def _closes_raising(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [])
    return Body("closes-raising", _raising(b"hel")())


@app("closes-never-started")
def _closes_never_started(environ: Environ, start_response: Any) -> Iterable[bytes]:
    return Body("closes-never-started", [b"hello"])


@app("closes-204")
def _closes_204(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response("204 No Content", [])
    return Body("closes-204", [])


@app("file-wrapper")
def _file_wrapper(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](io.BytesIO(b"hello"))  # type: ignore[no-any-return]


@app("file-wrapper-with-length")
def _file_wrapper_with_length(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [length(5)])
    return environ["wsgi.file_wrapper"](io.BytesIO(b"hello"), 2)  # type: ignore[no-any-return]


@app("file-wrapper-from-middle")
def _file_wrapper_from_middle(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [length(5)])
    file = io.BytesIO(b"not hello and more")
    file.seek(4)
    return environ["wsgi.file_wrapper"](file)  # type: ignore[no-any-return]

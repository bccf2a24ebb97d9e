# SPDX-License-Identifier: MIT
"""Clause 6: start_response, write(), framing of the response, and faulty applications."""

from typing import Any

from .apps import RAISES
from .cases import Answer, Case, get, lines
from .table_framing import SMUGGLED

CASES: list[Case] = []
OLD = b" HTTP/1.0"


def row(clause: str, name: str, request: bytes, *answers: Answer, **end: Any) -> None:
    end.setdefault("stays", True)
    CASES.append(Case(clause, name, request, answers, **end))


def answer(app: str, sends: bytes = b"hello", status: int = 200, **more: Any) -> Answer:
    return Answer((status,), path="/app/" + app, sends=sends, **more)


def response(clause: str, app: str, sends: bytes = b"hello", **more: Any) -> None:
    """Adds GET in 1.1 and 1.0, and HEAD: the same status and headers, each with its framing."""
    stays = more.pop("stays", True)
    framing = more.pop("framing", None)
    target = b"/app/" + app.encode()
    expected = answer(app, sends, framing=framing, **more)
    row(clause, app, get(target=target), expected, stays=stays)
    head = answer(app, method="HEAD", status=expected.status[0], headers=more.get("headers", {}))
    row(clause, f"{app}, HEAD", get(target=target, method=b"HEAD"), head, stays=None)
    # Where 1.1 gets chunks, the end of the connection delimits the body for 1.0.
    old = lines(b"GET " + target + OLD, b"Connection: keep-alive")
    unframed = framing == "chunked"
    in_old = answer(app, sends, framing="close" if unframed else framing, **more)
    row(clause, f"{app}, 1.0", old, in_old, stays=not unframed and stays)


def broken(clause: str, app: str) -> None:
    """Adds a response that begins, and that the client must recognize as incomplete."""
    path = "/app/" + app
    row(clause, app, get(target=path.encode()) + SMUGGLED, stays=False, breaks=path)


CLAUSE = "6.1 framing"
response(CLAUSE, "list", framing="length")
response(CLAUSE, "tuple", framing="length")
response(CLAUSE, "list-of-two", framing="chunked")
response(CLAUSE, "list-with-empty", framing="chunked")
response(CLAUSE, "empty-list", b"", framing="length")
response(CLAUSE, "list-of-empty", b"", framing="length")
response(CLAUSE, "generator", framing="chunked")
response(CLAUSE, "generator-empty-first", framing="chunked")
response(CLAUSE, "looks-chunked", b"0\r\n\r\n5\r\n", framing="chunked")
response(CLAUSE, "generator-with-length", framing="length")
response(CLAUSE, "list-with-length", framing="length")
response(CLAUSE, "length-in-any-case", framing="length")
response(CLAUSE, "404", status=404, framing="length")
response(CLAUSE, "no-reason", status=299, framing="length")
response(CLAUSE, "odd-reason", framing="length")
response(CLAUSE, "starts-late", framing="length")
for app in ("empty-generator", "generator-of-empty"):
    target = b"/app/" + app.encode()
    row(
        CLAUSE,
        app,
        get(target=target) + get(target=b"/2"),
        answer(app, b""),
        Answer((200,), path="/2"),
    )

CLAUSE = "6.2 no body"
for app in ("204", "204-with-body", "204-with-length", "204-generator"):
    response(CLAUSE, app, b"", status=204)
for app in ("304", "304-with-body", "304-with-length", "304-generator"):
    response(CLAUSE, app, b"", status=304)
response(CLAUSE, "205", b"", status=205, framing="length")
for app in (
    "list",
    "generator",
    "list-with-length",
    "generator-with-length",
    "write",
    "file-wrapper",
):
    request = get(target=b"/app/" + app.encode(), method=b"HEAD") + get(target=b"/2")
    row(CLAUSE, f"HEAD {app}", request, answer(app, method="HEAD"), Answer((200,), path="/2"))
head = get(target=b"/app/list-with-length", method=b"HEAD")
keeps = answer("list-with-length", method="HEAD", headers={"Content-Length": "5"})
row(CLAUSE, "HEAD keeps the length", head, keeps)
head = get(target=b"/app/304-with-length")
keeps = answer("304-with-length", b"", status=304, headers={"Content-Length": "5"})
row(CLAUSE, "304 keeps the length", head, keeps)

CLAUSE = "6.3 wrong length"
for app in ("too-short", "too-short-generator", "nothing-of-length", "write-too-short"):
    broken(CLAUSE, app)
for app in ("too-long", "too-long-generator", "write-too-long"):
    row(CLAUSE, app, get(target=b"/app/" + app.encode()), answer(app), stays=None)
row(
    CLAUSE,
    "zero-but-body",
    get(target=b"/app/zero-but-body"),
    answer("zero-but-body", b""),
    stays=None,
)

CLAUSE = "6.4 start_response"


def failing(clause: str, app: str) -> None:
    target = b"/app/" + app.encode()
    gone = {"X-Evil": None, "X-Lost": None, "X-A": None}
    expected = Answer((500,), path="/app/" + app, sends=None, headers=gone)
    row(clause, app, get(target=target), expected, stays=None)
    row(clause, f"{app}, 1.0", lines(b"GET " + target + OLD), expected, stays=False)
    bare = Answer((500,), path="/app/" + app, method="HEAD", headers=gone)
    row(clause, f"{app}, HEAD", get(target=target, method=b"HEAD"), bare, stays=None)


for name, _, _ in RAISES:
    failing("6.5 bad headers", name)
failing("6.5 bad headers", "two-lengths")
for app in (
    "starts-twice",
    "never-starts",
    "never-starts-empty",
    "closes-never-started",
    "raises",
    "raises-started",
    "raises-oserror",
    "raises-first",
    "raises-after-empty",
    "none",
    "string",
    "bare-string",
    "number",
):
    failing(CLAUSE, app)
for app in (
    "raises-after-data",
    "raises-after-length",
    "string-after-data",
    "exc-info-late",
    "write-then-exc-info",
    "closes-raising",
):
    broken(CLAUSE, app)
for app in ("exc-info", "exc-info-first"):
    headers = {"X-New": "1", "X-Old": None}
    response(CLAUSE, app, b"sorry", status=503, headers=headers, framing="length")
response(CLAUSE, "headers-changed-later", headers={"X-A": "b", "X-Late": None}, framing="chunked")

CLAUSE = "6.6 write"
response(CLAUSE, "write", framing="chunked")
response(CLAUSE, "write-and-return", framing="chunked")
response(CLAUSE, "write-empty", framing="chunked")
response(CLAUSE, "write-with-length", framing="length")

CLAUSE = "6.7 hop-by-hop"
for app in ("close", "close-in-list", "close-generator"):
    request = get(target=b"/app/" + app.encode()) + SMUGGLED
    row(CLAUSE, app, request, answer(app, headers={"Connection": "close"}), stays=False)
gone = {"Connection": None, "Keep-Alive": None, "TE": None, "Upgrade": None}
kept = {**gone, "Proxy-Connection": None, "X-Kept": "yes"}
row(CLAUSE, "dropped", get(target=b"/app/hop-by-hop"), answer("hop-by-hop", headers=kept))
row(CLAUSE, "keep-alive", get(target=b"/app/keep-alive"), answer("keep-alive", headers=gone))
response(CLAUSE, "own-chunked", framing="chunked")
response(CLAUSE, "own-chunked-list", framing="length")
response(CLAUSE, "own-chunked-and-length", framing="length")

CLAUSE = "6.8 headers"
date = {"Date": "Sun, 06 Nov 1994 08:49:37 GMT"}
response(CLAUSE, "own-date", headers=date)
response(CLAUSE, "own-date-any-case", headers=date)
response(CLAUSE, "own-server", headers={"Server": "mine"})
response(CLAUSE, "latin-1", headers={"X-A": "caf\u00e9"})
response(CLAUSE, "empty-value", headers={"X-A": ""})

CLAUSE = "6.9 file_wrapper"
response(CLAUSE, "file-wrapper", framing="chunked")
response(CLAUSE, "file-wrapper-with-length", framing="length")
row(
    CLAUSE,
    "from the middle",
    get(target=b"/app/file-wrapper-from-middle"),
    answer("file-wrapper-from-middle"),
    stays=None,
)

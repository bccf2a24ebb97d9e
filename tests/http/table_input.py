# SPDX-License-Identifier: MIT
"""Clause 7: wsgi.input, read in every way, with every framing and every split."""

from .cases import Table, aborted, chunked, get, lines, ok, post, refused
from .table_framing import SMUGGLED, TE, posted

CASES = Table()
BODY = b"ab\ncde\n\n\nlast line without end"
case = CASES.case


def read_by(name: str, sends: bytes, body: bytes = BODY) -> None:
    """Adds rows in which the app `name` reads `body`, framed both ways, and answers `sends`."""
    path = "/app/" + name
    target = path.encode()
    answer = posted(path=path, sends=sends)
    name += "" if body is BODY else f" of {body!r}"
    whole = post(b"Content-Length: %d" % len(body), body=body, target=target)
    case("7.1 reading", name, whole, answer)
    halves = [p for p in (body[: len(body) // 2], body[len(body) // 2 :]) if p]
    request = post(TE, body=chunked(*halves), target=target)
    case("7.1 reading", f"{name}, chunked", request + get(target=b"/2"), answer, ok("/2"))


LINES = b"|".join(BODY.splitlines(keepends=True))
read_by("read", BODY)
read_by("read-none", BODY)
read_by("read-minus-one", BODY)
read_by("read-3", b"|".join(BODY[i : i + 3] for i in range(0, len(BODY), 3)))
read_by("read-1", b"|".join(BODY[i : i + 1] for i in range(len(BODY))))
read_by("read-huge", BODY)
read_by("read-zero", b"" + BODY)
read_by("readline", LINES)
read_by("readline-none", LINES)
read_by("readline-minus-one", LINES)
read_by("readline-2", b"ab|\n|cd|e\n|\n|\n|la|st| l|in|e |wi|th|ou|t |en|d")
read_by("readline-4", b"ab\n|cde\n|\n|\n|last| lin|e wi|thou|t en|d")
read_by("readlines", LINES)
read_by("readlines-hint", b"ab\n|cde\n")
read_by("iterate", LINES)
read_by("mixed", b"ab\n|cd|e\n|\n\nl|ast line without end||")
read_by("past-the-end", BODY + b"||||")
read_by("read", b"", b"")
read_by("readline", b"", b"")
read_by("iterate", b"", b"")
read_by("readlines", b"|".join([b"\n"] * 5), b"\n" * 5)
case(
    "7.1 reading",
    "no body at all",
    get(target=b"/app/past-the-end"),
    ok("/app/past-the-end", sends=b"||||"),
)

CLAUSE = "7.2 short body"
for name, request in (
    ("nothing of it", post(b"Content-Length: 5")),
    ("half of it", post(b"Content-Length: 5", body=b"he")),
    ("all but one", post(b"Content-Length: 5", body=b"hell")),
    ("in 1.0", lines(b"POST / HTTP/1.0", b"Content-Length: 5", body=b"he")),
):
    CASES.append(aborted(CLAUSE, name, request))
for app in ("catch-read", "catch-readline", "catch-iterate", "catch-read-3", "catch-twice"):
    path = "/app/" + app
    answer = posted(path=path, sends=b"OSError")
    request = post(b"Content-Length: 9", body=b"hello", target=path.encode())
    case(CLAUSE, app, request, answer, stays=False, eof=True)
    request = post(TE, body=b"9\r\nhello", target=path.encode())
    case(CLAUSE, f"{app}, chunked", request, answer, stays=False, eof=True)
    request = post(TE, body=b"5\r\nhello\r\nzz\r\n", target=path.encode())
    case(CLAUSE, f"{app}, bad chunk", request, answer, stays=False, late=True)

CLAUSE = "7.3 unread body"
IGNORE = b"/app/ignore"
for name, request in (
    ("length", post(b"Content-Length: 5", body=b"hello", target=IGNORE)),
    ("chunks", post(TE, body=chunked(b"hel", b"lo"), target=IGNORE)),
    ("is a request", post(b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED, target=IGNORE)),
    ("with trailers", post(TE, body=chunked(b"x", trailer=b"A: b\r\n"), target=IGNORE)),
):
    answer = posted(path="/app/ignore", sends=b"ignored")
    case(CLAUSE, name, request + get(target=b"/2"), answer, ok("/2"))
request = post(b"Content-Length: 5", body=b"hello", target=b"/app/read-2-only")
case(
    CLAUSE,
    "half read",
    request + get(target=b"/2"),
    posted(path="/app/read-2-only", sends=b"he"),
    ok("/2"),
)
request = post(TE, body=b"5\r\nhello\r\nzz\r\n" + SMUGGLED, target=IGNORE)
answer = posted(path="/app/ignore", sends=b"ignored")
case(CLAUSE, "bad chunk", request, answer, stays=False, late=True)

CLAUSE = "7.4 expect"
for value in (b"100-continue", b"100-Continue", b"100-CONTINUE"):
    request = post(b"Expect: " + value, b"Content-Length: 5", body=b"hello")
    case(CLAUSE, value.decode() + ", body at once", request + get(target=b"/2"), posted(), ok("/2"))
request = post(b"Expect: 100-continue", TE, body=chunked(b"hello"))
case(CLAUSE, "chunked, body at once", request + get(target=b"/2"), posted(), ok("/2"))
request = get(b"Expect: 100-continue") + get(target=b"/2")
case(CLAUSE, "without body", request, ok(), ok("/2"))
request = lines(b"POST / HTTP/1.0", b"Expect: 100-continue", b"Content-Length: 5", body=b"hello")
case(CLAUSE, "in 1.0", request, posted(), stays=False)
case(CLAUSE, "unknown", get(b"Expect: the-inquisition"), refused(417))
case(CLAUSE, "unknown beside", get(b"Expect: 100-continue, foo=bar"), refused(417))

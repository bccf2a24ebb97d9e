# SPDX-License-Identifier: MIT
"""Clauses 5 and 8: environ for valid requests, and the order of requests."""

from typing import Any

from .cases import Table, chunked, get, lines, ok, post, refused
from .table_framing import SMUGGLED, TE, posted

CASES = Table()
case = CASES.case

# --- 5.1: request targets --------------------------------------------------------------------

CLAUSE = "5.1 target"


def target(name: str, text: bytes, path: str, query: str = "", **environ: Any) -> None:
    environ.setdefault("RAW_URI", text.decode("latin-1"))
    case(CLAUSE, name, get(target=text), ok(path, query=query, environ=environ))


target("root", b"/", "/", SCRIPT_NAME="")
target("query", b"/a?b=c&d", "/a", "b=c&d")
target("empty query", b"/a?", "/a")
target("two question marks", b"/a?b?c", "/a", "b?c")
target("query is not decoded", b"/a?b%20c%3d+d", "/a", "b%20c%3d+d")
target("decoded", b"/a%20b%2Fc%3f", "/a b/c?")
target("decoded once", b"/%2541", "/%41")
target("UTF-8, as latin-1", b"/%C3%A9", "/\u00c3\u00a9")
target("bytes that are not UTF-8", b"/%ff%FE", "/\u00ff\u00fe")
target("bad escape", b"/%zz%4", "/%zz%4")
target("percent at the end", b"/a%", "/a%")
target("plus stays", b"/a+b", "/a+b")
target("semicolon stays", b"/a;b=c", "/a;b=c")
target("double slash", b"//evil.example/p", "//evil.example/p", HTTP_HOST="x")
target("triple slash", b"///p", "///p")
target("URL in the path", b"/http://evil/p", "/http://evil/p", HTTP_HOST="x")
target("dot segments", b"/a/../b/./c", "/a/../b/./c")
target("encoded CRLF", b"/a%0d%0ab", "/a\r\nb")
target("brackets and quotes", b"/[a]\"b'|c^", "/[a]\"b'|c^")
target("colon and at", b"/a:b@c", "/a:b@c")

CLAUSE = "5.2 absolute-form"
target("replaces Host", b"http://evil.example/p?q=1", "/p", "q=1", HTTP_HOST="evil.example")
target("port", b"http://h:8080/p", "/p", HTTP_HOST="h:8080")
target("IPv6", b"http://[::1]:81/p", "/p", HTTP_HOST="[::1]:81")
target("no path", b"http://h", "/", HTTP_HOST="h")
target("no path but a port", b"http://h:81", "/", HTTP_HOST="h:81")
target("no path but a query", b"http://h?q=1", "/", "q=1", HTTP_HOST="h")
target("scheme in capitals", b"HTTP://h/p", "/p", HTTP_HOST="h")
target("https", b"https://h/p", "/p", HTTP_HOST="h")
target("path of slashes", b"http://h//a//b", "//a//b", HTTP_HOST="h")
target("decoded", b"http://h/%61", "/a", HTTP_HOST="h")
target("URL in the query", b"http://h/?u=http://i/", "/", "u=http://i/", HTTP_HOST="h")
case(
    CLAUSE,
    "url_scheme is the connection's",
    get(target=b"https://h/p"),
    ok("/p", environ={"wsgi.url_scheme": "http"}),
)
case(CLAUSE, "1.1 still needs Host", lines(b"GET http://h/ HTTP/1.1"), refused())
case(
    CLAUSE,
    "1.0 without Host",
    lines(b"GET http://h/p HTTP/1.0"),
    ok("/p", environ={"HTTP_HOST": "h"}),
    stays=False,
)

CLAUSE = "5.3 asterisk-form"
star = get(target=b"*", method=b"OPTIONS")
case(
    CLAUSE,
    "OPTIONS",
    star + get(target=b"/2"),
    ok("*", method="OPTIONS", environ={"RAW_URI": "*"}),
    ok("/2"),
)

# --- 5.4: header fields ----------------------------------------------------------------------

CLAUSE = "5.4 headers"


def header(name: str, *fields: bytes, absent: tuple[str, ...] = (), **environ: Any) -> None:
    case(CLAUSE, name, get(*fields), ok(environ=environ, absent=absent))


header("name", b"X-Some-Thing: v", HTTP_X_SOME_THING="v")
header("name in any case", b"x-sOME-tHING: v", HTTP_X_SOME_THING="v")
header("no space", b"A:b", HTTP_A="b")
header("spaces and tabs around", b"A: \t b c \t ", HTTP_A="b c")
header("tab inside", b"A: b\tc", HTTP_A="b\tc")
header("empty", b"A:", b"B: ", HTTP_A="", HTTP_B="")
header("colons", b"A: b:c: d", HTTP_A="b:c: d")
header("latin-1", b"A: caf\xe9", HTTP_A="caf\u00e9")
header("UTF-8 as latin-1", b"A: \xc3\xa9", HTTP_A="\u00c3\u00a9")
header("every byte allowed", b"A: !\x80\xa0\xff", HTTP_A="!\x80\xa0\xff")
header("odd but legal names", b"X.Y|Z!#$%&'*+^`~: v", **{"HTTP_X.Y|Z!#$%&'*+^`~": "v"})
header("digits", b"1: v", HTTP_1="v")
header(
    "CONTENT_TYPE has no prefix",
    b"Content-Type: a/b",
    CONTENT_TYPE="a/b",
    absent=("HTTP_CONTENT_TYPE",),
)
header(
    "CONTENT_LENGTH has no prefix",
    b"Content-Length: 0",
    CONTENT_LENGTH="0",
    absent=("HTTP_CONTENT_LENGTH",),
)
header("duplicates join", b"A: b", b"X: y", b"a: c", HTTP_A="b,c")
header("three join", b"A: b", b"A:", b"A: c", HTTP_A="b,,c")
header("cookies join", b"Cookie: a=b", b"cookie: c=d", HTTP_COOKIE="a=b; c=d")
header("underscore", b"X_Forwarded_For: 1", absent=("HTTP_X_FORWARDED_FOR",))
header("one underscore", b"X-Forwarded_For: 1", absent=("HTTP_X_FORWARDED_FOR",))
header("underscore last", b"X-A_: 1", absent=("HTTP_X_A_",))
header("underscore first", b"_A: 1", absent=("HTTP__A",))
header("underscore beside dash", b"X-A: 1", b"X_A: 2", b"X_A: 0", HTTP_X_A="1")
header("Content_Type", b"Content_Type: evil/x", absent=("CONTENT_TYPE",))
header("Content_Type beside", b"Content-Type: a/b", b"Content_Type: evil/x", CONTENT_TYPE="a/b")
header("underscore Host", b"HO_ST: evil", HTTP_HOST="x", absent=("HTTP_HO_ST",))
header("two Content-Type", b"Content-Type: a/b", b"Content-Type: c/d", CONTENT_TYPE="a/b,c/d")

CLAUSE = "5.5 forgeries"
CLIENT = frozenset(("127.0.0.1", ""))  # over TCP, over a unix socket
header("Remote-Addr", b"Remote-Addr: 6.6.6.6", REMOTE_ADDR=CLIENT, HTTP_REMOTE_ADDR="6.6.6.6")
header("REMOTE_ADDR", b"REMOTE_ADDR: 6.6.6.6", REMOTE_ADDR=CLIENT, absent=("HTTP_REMOTE_ADDR",))
header("dotted", b"ct.orig_dst: 6.6.6.6:6", **{"ct.orig_dst": None, "ct.source": "none"})
header("dotted, no underscore", b"ct.source: proxy", **{"ct.source": "none"})
header("dotted, capitals", b"CT.VERIFIED: 1", **{"ct.verified": False})
header("dashes", b"CT-Orig-Dst: 6.6.6.6:6", HTTP_CT_ORIG_DST="6.6.6.6:6", **{"ct.orig_dst": None})
header("wsgi", b"wsgi.url_scheme: https", **{"wsgi.url_scheme": "http"})
header("X-Forwarded", b"X-Forwarded-For: 6.6.6.6", b"X-Forwarded-Proto: https", REMOTE_ADDR=CLIENT)
header("scheme", b"X-Forwarded-Proto: https", **{"wsgi.url_scheme": "http"})
header("Script-Name", b"Script-Name: /evil", SCRIPT_NAME="")
header("Https", b"Https: on", absent=("HTTPS",))
header("Server-Name", b"Server-Name: evil", b"Server-Port: 1", SERVER_PROTOCOL="HTTP/1.1")
header("Request-Method", b"Request-Method: PUT", REQUEST_METHOD="GET")

# --- 5.6: the rest of environ ----------------------------------------------------------------

CLAUSE = "5.6 environ"
case(
    CLAUSE,
    "constant keys",
    get(),
    ok(
        environ={
            "wsgi.version": (1, 0),
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "wsgi.url_scheme": "http",
        },
        absent=("CONTENT_TYPE", "CONTENT_LENGTH", "HTTP_CONTENT_LENGTH", "HTTP_COOKIE"),
    ),
)
case(
    CLAUSE,
    "nothing stays from the request before",
    post(b"A: b", b"Content-Type: c/d", b"Content-Length: 5", body=b"hello") + get(target=b"/2"),
    posted(environ={"HTTP_A": "b", "CONTENT_TYPE": "c/d"}),
    ok("/2", absent=("HTTP_A", "CONTENT_TYPE", "CONTENT_LENGTH")),
)

# --- 8.1: pipelining -------------------------------------------------------------------------

CLAUSE = "8.1 pipelining"
BAD = b"GET / HTTP/1.1\r\nHost: x\r\nbad\r\n\r\n"
POST = post(b"Content-Length: 5", body=b"hello", target=b"/l")
CHUNKS = post(TE, body=chunked(b"hel", b"lo"), target=b"/c")
case(CLAUSE, "three", get() + get(target=b"/2") + get(target=b"/3"), ok(), ok("/2"), ok("/3"))
case(
    CLAUSE, "bodies", POST + CHUNKS + POST, posted(path="/l"), posted(path="/c"), posted(path="/l")
)
case(
    CLAUSE,
    "bodies and none",
    get() + POST + get(target=b"/2") + CHUNKS + get(target=b"/3"),
    ok(),
    posted(path="/l"),
    ok("/2"),
    posted(path="/c"),
    ok("/3"),
)
case(CLAUSE, "then a bad one", get() + BAD, ok(), refused())
case(CLAUSE, "two, then a bad one", get() + get(target=b"/2") + BAD, ok(), ok("/2"), refused())
case(CLAUSE, "nothing after a bad one", get() + BAD + SMUGGLED, ok(), refused())
case(CLAUSE, "body, then a bad one", POST + BAD, posted(path="/l"), refused())
case(CLAUSE, "chunks, then a bad one", CHUNKS + BAD, posted(path="/c"), refused())
case(CLAUSE, "then garbage", get() + b"\0\1\2\r\n\r\n", ok(), refused(400, 501))
case(CLAUSE, "then an unknown method", get() + get(method=b"BREW"), ok(), refused(501))
case(CLAUSE, "then a missing Host", get() + lines(b"GET / HTTP/1.1"), ok(), refused())
case(
    CLAUSE,
    "a body longer than announced",
    POST + b"xyz\r\n\r\n",
    posted(path="/l"),
    refused(400, 501),
)
case(CLAUSE, "HEAD between", get(method=b"HEAD") + get(target=b"/2"), ok(method="HEAD"), ok("/2"))
case(CLAUSE, "ten", get() * 10, *[ok()] * 10)

# --- 8.2: Connection is a token list ---------------------------------------------------------

CLAUSE = "8.2 connection"
for name, value in (
    ("close", b"close"),
    ("capitals", b"CLOSE"),
    ("last of two", b"foo, Close"),
    ("first of two", b"close, foo"),
    ("no space", b"foo,close"),
    ("with keep-alive", b"keep-alive, close"),
    ("with keep-alive, first", b"close, keep-alive"),
    ("empty elements", b", ,close,"),
    ("tabs", b"foo,\tclose\t"),
    ("trailing space", b"close "),
):
    request = get(b"Connection: " + value)
    case(CLAUSE, f"{name}: closes", request, ok(), stays=False)
    case(CLAUSE, f"{name}: nothing after", request + SMUGGLED, ok(), stays=False, rude=True)
two = (b"Connection: foo", b"Connection: close")
case(CLAUSE, "two headers: closes", get(*two) + SMUGGLED, ok(), stays=False, rude=True)
case(CLAUSE, "two headers, close first", get(*two[::-1]) + SMUGGLED, ok(), stays=False, rude=True)
case(CLAUSE, "keep-alive and close", get(b"Connection: keep-alive", two[1]), ok(), stays=False)
request = post(b"Connection: close", b"Content-Length: 5", body=b"hello")
case(CLAUSE, "close with a body", request + SMUGGLED, posted(), stays=False, rude=True)
request = post(b"Connection: close", TE, body=chunked(b"hello"))
case(CLAUSE, "close with chunks", request + SMUGGLED, posted(), stays=False, rude=True)
case(CLAUSE, "close after others", get() + get(two[1], target=b"/2"), ok(), ok("/2"), stays=False)
for value in (b"keep-alive", b"Keep-Alive", b"foo", b"closed", b"x-close", b"close-x", b"", b"te"):
    request = get(b"Connection: " + value) + get(target=b"/2")
    case(CLAUSE, f"{value.decode()!r} stays open", request, ok(), ok("/2"))
for name, fields in (
    ("default", ()),
    ("close", (b"Connection: close",)),
    ("foo", (b"Connection: foo",)),
    ("keep-alivex", (b"Connection: keep-alivex",)),
    ("close and keep-alive", (b"Connection: close, keep-alive",)),
):
    request = lines(b"GET / HTTP/1.0", *fields) + SMUGGLED
    case(CLAUSE, f"1.0 {name}: closes", request, ok(), stays=False, rude=True)
for value in (b"keep-alive", b"Keep-Alive", b"KEEP-ALIVE", b"foo, keep-alive", b"keep-alive,foo"):
    head = lines(b"GET / HTTP/1.0", b"Connection: " + value)
    alive = {"Connection": "keep-alive"}
    request = head + get(target=b"/2")
    case(CLAUSE, f"1.0 {value.decode()}: stays", request, ok(headers=alive), ok("/2"))
request = lines(b"GET / HTTP/1.0", b"Connection: foo", b"Connection: keep-alive")
case(CLAUSE, "1.0 two headers: stays", request + get(target=b"/2"), ok(), ok("/2"))

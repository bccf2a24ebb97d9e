# SPDX-License-Identifier: MIT
"""Clauses 3.6 to 3.10: line ends, header syntax, chunk syntax, methods and small limits."""

from .cases import Answer, Case, Table, aborted, broken_body, chunked, get, lines, ok, post, refused
from .table_framing import HELLO, SMUGGLED, TE, posted

CASES = Table()
case = CASES.case

# --- 3.6: what ends a line -------------------------------------------------------------------

CLAUSE = "3.6 line ends"
for name, request in (
    ("LF everywhere", b"GET / HTTP/1.1\nHost: x\n\n"),
    ("LF after the request line", b"GET / HTTP/1.1\nHost: x\r\n\r\n"),
    ("LF after a header", b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n"),
    ("LF for the empty line", b"GET / HTTP/1.1\r\nHost: x\r\n\n"),
    ("LF LF at the end", b"GET / HTTP/1.1\r\nHost: x\n\n"),
    ("CR after the request line", b"GET / HTTP/1.1\rHost: x\r\n\r\n"),
    ("CR after a header", b"GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n"),
    ("CR CR LF after the request line", b"GET / HTTP/1.1\r\r\nHost: x\r\n\r\n"),
    ("CR CR LF after a header", b"GET / HTTP/1.1\r\nHost: x\r\r\n\r\n"),
    ("CR CR at the end", b"GET / HTTP/1.1\r\nHost: x\r\r" + SMUGGLED),
    ("CR and a letter at the end", b"GET / HTTP/1.1\r\nHost: x\r\n\rX"),
    ("CR in a value", get(b"A: b\rc")),
    ("LF in a value", get(b"A: b\nc")),
    ("CR first in a value", get(b"A: \rb")),
    ("CR last in a value", get(b"A: b\r")),
    ("CR in a name", get(b"A\rB: c")),
    ("LF in a name", get(b"A\nB: c")),
    ("CR in the target", lines(b"GET /a\rb HTTP/1.1", b"Host: x")),
    ("LF in the target", lines(b"GET /a\nb HTTP/1.1", b"Host: x")),
    ("CR in the method", lines(b"GE\rT / HTTP/1.1", b"Host: x")),
    ("LF instead of a space", lines(b"GET\n/\nHTTP/1.1", b"Host: x")),
    ("request hidden behind LF", get(b"A: b\n\nGET /smuggled HTTP/1.1\nHost: evil")),
    ("request hidden behind CR", get(b"A: b\r\rGET /smuggled HTTP/1.1\rHost: evil")),
):
    case(CLAUSE, name, request, refused(400, 501))

CLAUSE = "3.6 leading empty lines"
case(CLAUSE, "one", b"\r\n" + get(), ok())
case(CLAUSE, "two", b"\r\n\r\n" + get(), ok())
request = post(b"Content-Length: 5", body=b"hello") + b"\r\n" + get(target=b"/2")
case(CLAUSE, "after a body", request, posted(), ok("/2"))
for name, blank in (("bare CR", b"\r"), ("bare LF", b"\n"), ("LF CR", b"\n\r")):
    case(CLAUSE, name, blank + get(), refused(400, 501))
    case(CLAUSE, f"{name} after a request", get() + blank + get(), ok(), refused(400, 501))
case(CLAUSE, "space first", b" " + get(), refused(400, 501))
case(CLAUSE, "NUL first", b"\0" + get(), refused(400, 501))
case(CLAUSE, "empty line and space", b"\r\n " + get(), refused(400, 501))

# --- 3.7: header fields ----------------------------------------------------------------------

CLAUSE = "3.7 header syntax"
for name, header in (
    ("obs-fold with space", b"A: b\r\n c"),
    ("obs-fold with tab", b"A: b\r\n\tc"),
    ("obs-fold of an empty line", b"A: b\r\n \r\n"),
    ("obs-fold hiding a header", b"A: b\r\n Content-Length: 5"),
    ("space before colon", b"A : b"),
    ("tab before colon", b"A\t: b"),
    ("no colon", b"A"),
    ("no colon, words", b"A b c"),
    ("empty name", b": b"),
    ("only a colon", b":"),
    ("leading space", b" A: b"),
    ("leading tab", b"\tA: b"),
    ("NUL in name", b"A\0B: c"),
    ("NUL in value", b"A: b\0c"),
    ("NUL first in value", b"A: \0"),
    ("BEL in value", b"A: b\x07c"),
    ("ESC in value", b"A: \x1b[0m"),
    ("VT in value", b"A: b\x0bc"),
    ("FF in value", b"A: b\x0cc"),
    ("DEL in value", b"A: b\x7f"),
    ("DEL in name", b"A\x7f: b"),
    ("parenthesis in name", b"A(b): c"),
    ("slash in name", b"A/b: c"),
    ("bracket in name", b"A[b]: c"),
    ("quote in name", b'"A": b'),
    ("comma in name", b"A,B: c"),
    ("semicolon in name", b"A;B: c"),
    ("at in name", b"A@B: c"),
    ("equals in name", b"A=B: c"),
    ("non-ASCII name", b"\xc3\xa9: b"),
    ("latin-1 name", b"Content-Length\xdf: 3"),
    ("space in name", b"A B: c"),
):
    case(CLAUSE, name, get(header), refused())
first = lines(b"GET / HTTP/1.1", b" Host: x", b"Host: x")
case(CLAUSE, "space before the first header", first, refused())
first = lines(b"GET / HTTP/1.1", b" ", b"Host: x")
case(CLAUSE, "blank after the request line", first, refused())

# --- 3.8: chunks -----------------------------------------------------------------------------

CLAUSE = "3.8 chunks"
for name, body, want in (
    ("none", b"0\r\n\r\n", b""),
    ("two", chunked(b"hello", b" world"), b"hello world"),
    ("leading zeros", b"0005\r\nhello\r\n000\r\n\r\n", b"hello"),
    ("uppercase hex", b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    ("lowercase hex", b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    ("extension", b"5;a\r\nhello\r\n0\r\n\r\n", b"hello"),
    ("extension with value", b"5;a=b\r\nhello\r\n0;c=d\r\n\r\n", b"hello"),
    ("quoted extension", b'5;a="b c;\\"d"\r\nhello\r\n0\r\n\r\n', b"hello"),
    ("two extensions", b"5;a=b;c\r\nhello\r\n0\r\n\r\n", b"hello"),
    ("data looks like chunks", chunked(b"0\r\n\r\n", b"5\r\n"), b"0\r\n\r\n5\r\n"),
    ("data is a request", chunked(SMUGGLED), SMUGGLED),
    ("CRLF in data", chunked(b"\r\n", b"\r\n\r\n"), b"\r\n\r\n\r\n"),
):
    case(CLAUSE, name, post(TE, body=body), posted(want))
    case(
        CLAUSE,
        f"{name}, pipelined",
        post(TE, body=body) + get(target=b"/2"),
        posted(want),
        ok("/2"),
    )
for name, body in (
    ("0x", b"0x5\r\nhello\r\n0\r\n\r\n"),
    ("x5", b"x5\r\nhello\r\n0\r\n\r\n"),
    ("plus", b"+5\r\nhello\r\n0\r\n\r\n"),
    ("minus", b"-5\r\nhello\r\n0\r\n\r\n"),
    ("minus zero", b"-0\r\n\r\n"),
    ("underscore", b"0_5\r\nhello\r\n0\r\n\r\n"),
    ("space before", b" 5\r\nhello\r\n0\r\n\r\n"),
    ("space after", b"5 \r\nhello\r\n0\r\n\r\n"),
    ("tab after", b"5\t\r\nhello\r\n0\r\n\r\n"),
    ("empty size", b"\r\nhello\r\n0\r\n\r\n"),
    ("only an extension", b";a=b\r\nhello\r\n0\r\n\r\n"),
    ("not hex", b"g\r\nhello\r\n0\r\n\r\n"),
    ("decimal point", b"5.0\r\nhello\r\n0\r\n\r\n"),
    ("comma", b"5,5\r\nhello\r\n0\r\n\r\n"),
    ("17 digits", b"F" * 17 + b"\r\nhello\r\n0\r\n\r\n"),
    ("2 to the 64 and 5", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("VT", b"5\x0b\r\nhello\r\n0\r\n\r\n"),
    ("NUL", b"5\0\r\nhello\r\n0\r\n\r\n"),
    ("LF after the size", b"5\nhello\r\n0\r\n\r\n"),
    ("CR after the size", b"5\rhello\r\n0\r\n\r\n"),
    ("CR CR LF after the size", b"5\r\r\nhello\r\n0\r\n\r\n"),
    ("LF after data", b"5\r\nhello\n0\r\n\r\n"),
    ("CR after data", b"5\r\nhello\r0\r\n\r\n"),
    ("nothing after data", b"5\r\nhello0\r\n\r\n"),
    ("data too long", b"5\r\nhello!\r\n0\r\n\r\n"),
    ("data too short", b"5\r\nhell\r\n0\r\n\r\n"),
    ("LF in an extension", b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    ("LF ends an extension", b"5;a\nhello\r\n0\r\n\r\n"),
    ("CR in an extension", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    ("NUL in an extension", b"5;\0\r\nhello\r\n0\r\n\r\n"),
    ("NUL in a quoted extension", b'5;a="\0"\r\nhello\r\n0\r\n\r\n'),
    ("CRLF in a quoted extension", b'5;a="\r\n"\r\nhello\r\n0\r\n\r\n'),
    ("LF after the last size", b"5\r\nhello\r\n0\n\r\n"),
    ("LF for the last CRLF", b"5\r\nhello\r\n0\r\n\n"),
    ("CR and a letter for the last CRLF", b"5\r\nhello\r\n0\r\n\rX"),
):
    case(CLAUSE, f"bad: {name}", post(TE, body=body + SMUGGLED), broken_body())
for name, body in (
    ("in the size", b"5"),
    ("after the size", b"5\r\n"),
    ("in data", b"5\r\nhe"),
    ("after data", b"5\r\nhello"),
    ("before the last chunk", b"5\r\nhello\r\n"),
    ("in the last chunk", b"5\r\nhello\r\n0\r\n"),
    ("before anything", b""),
):
    CASES.append(aborted("3.8 chunks, EOF", name, post(TE, body=body)))

# --- 3.9: methods and targets that are refused -----------------------------------------------

CLAUSE = "3.9 method"
for method in (b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"PROPFIND"):
    request = get(method=method) + get(target=b"/2")
    case(CLAUSE, method.decode(), request, ok(method=method.decode()), ok("/2"))
case(CLAUSE, "HEAD", get(method=b"HEAD") + get(target=b"/2"), ok(method="HEAD"), ok("/2"))
for method in (
    b"BREW",
    b"FOO",
    b"GETX",
    b"XGET",
    b"G",
    b"get",
    b"Get",
    b"PRIX",
    b"X" * 40,
    b"!#$%&'",
):
    case(CLAUSE, f"unknown {method.decode()}", get(method=method), refused(501))
for name, line in (
    ("none", b" / HTTP/1.1"),
    ("only", b"GET"),
    ("no target", b"GET HTTP/1.1"),
    ("colon", b"GET: / HTTP/1.1"),
    ("bad character", b"bla:rgh / HTTP/1.1"),
    ("non-ASCII", b"GET\xc3\x9f / HTTP/1.1"),
    ("NUL", b"GET\0 / HTTP/1.1"),
    ("tab", b"GET\t/ HTTP/1.1"),
):
    case(CLAUSE, name, lines(line, b"Host: x"), refused(400, 501))

CLAUSE = "3.9 target"
for name, target in (
    ("tab", b"/a\tb"),
    ("FF", b"/a\x0cb"),
    ("NUL", b"/a\0b"),
    ("BEL", b"/a\x07b"),
    ("DEL", b"/a\x7fb"),
    ("space", b"/a b"),
    ("tab in the query", b"/?a\tb"),
    ("NUL in the query", b"/?\0"),
    ("raw UTF-8", b"/\xc3\xa9"),
    ("raw UTF-8 in the query", b"/?\xc3\xa9"),
    ("relative", b"foo/bar"),
    ("only a query", b"?a=b"),
    ("authority", b"example.com:443"),
    ("star on GET", b"*"),
    ("star and more", b"*x"),
    ("dot", b".."),
    ("no host", b"http:///p"),
    ("no host but a port", b"http://:80/p"),
    ("userinfo", b"http://u:p@h/p"),
    ("unclosed bracket", b"http://[::1/p"),
    ("other scheme", b"ftp://h/p"),
    ("scheme without slashes", b"http:h/p"),
    ("one slash", b"http:/h/p"),
    ("mailto", b"mailto:a@b"),
):
    case(CLAUSE, name, get(target=target), refused())
# RFC 9112, 3 allows lenient parsing here: the request has only one meaning.
case(CLAUSE, "two spaces before", lines(b"GET  / HTTP/1.1", b"Host: x"), ok())
case(CLAUSE, "two spaces after", lines(b"GET /  HTTP/1.1", b"Host: x"), ok())

CLAUSE = "3.11 refusing HEAD"
for name, request in (
    ("no Host", lines(b"HEAD / HTTP/1.1")),
    ("two Hosts", get(b"Host: y", method=b"HEAD")),
    ("odd Transfer-Encoding", get(b"Transfer-Encoding: x", method=b"HEAD")),
    ("star", get(target=b"*", method=b"HEAD")),
    ("expectation", get(b"Expect: x", method=b"HEAD")),
):
    bare = Answer((400, 417, 501), called=False, method="HEAD")
    case(CLAUSE, name, request, bare)

# --- 3.10: limits, exact, on a server with small ones (SMALL in test_table.py) -----------------

SMALL_CASES: list[Case] = []


def small(name: str, request: bytes, *answers: Answer) -> None:
    still_open = all(200 in a.status for a in answers)
    SMALL_CASES.append(Case("3.10 limits", name, request, answers, still_open))


small("target at the limit", get(target=b"/" + b"a" * 39), ok("/" + "a" * 39))
small("target over the limit", get(target=b"/" + b"a" * 40), refused(414))
small("query over the limit", get(target=b"/?" + b"a" * 40), refused(414))
small("target far over the limit", b"GET /" + b"a" * 300, refused(414))
small("four headers", get(b"A: b", b"C: d", b"E: f"), ok())
small("five headers", get(b"A: b", b"C: d", b"E: f", b"G: h"), refused(431))
small("five headers with underscores", get(b"A_: b", b"C_: d", b"E_: f", b"G_: h"), refused(431))
small("five equal headers", get(*[b"A: b"] * 4), refused(431))
small("header block at the limit", get(b"A: " + b"b" * 136), ok())
small("header block over the limit", get(b"A: " + b"b" * 137), refused(431))
small("long name", get(b"A" * 140 + b": b"), refused(431))
small("two longish values", get(b"A: " + b"b" * 70, b"C: " + b"d" * 70), refused(431))
small("bad header behind the limit", get(b"A: " + b"b" * 140, b"bad"), refused(400, 431))
small("second request over the limit", get() + get(target=b"/" + b"a" * 40), ok(), refused(414))
small("each request anew", get(b"A: " + b"b" * 60) * 3, ok(), ok(), ok())
small("headers of each request anew", get(b"A: b", b"C: d", b"E: f") * 2, ok(), ok())
small(
    "extensions below the limit",
    post(TE, body=b"5;" + b"a" * 30 + b"\r\nhello\r\n0\r\n\r\n"),
    posted(),
)
small(
    "too many trailers",
    post(TE, body=chunked(b"hello", trailer=b"".join(b"T%d: x\r\n" % i for i in range(5)))),
    broken_body(400, 413, 431),
)
small("after plain chunks", post(TE, body=HELLO) + get(target=b"/2"), posted(), ok("/2"))
small("many small chunks", post(TE, body=chunked(*[b"x"] * 40)), posted(b"x" * 40))

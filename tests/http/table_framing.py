# SPDX-License-Identifier: MIT
"""Clauses 1 to 3: trailers, Upgrade, Transfer-Encoding and Content-Length.

The clauses are the sections of docs/server-behaviour.md; the requirements are RFC 9112's.
"""

from .cases import Answer, Table, aborted, broken_body, chunked, get, lines, ok, post, refused

TE = b"Transfer-Encoding: chunked"
HELLO = chunked(b"hello")
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n"

CASES = Table()
case = CASES.case


def posted(body: bytes = b"hello", path: str = "/", **more: object) -> Answer:
    return ok(path, method="POST", body=body, **more)


# --- 1: trailers are not headers -------------------------------------------------------------

CLAUSE = "1 trailers"
for name, trailer, absent in (
    ("new header", b"X-Injected: 1\r\n", "HTTP_X_INJECTED"),
    ("origin lookalike", b"CT-Orig-Dst: 6.6.6.6:6\r\n", "HTTP_CT_ORIG_DST"),
    ("cookie", b"Cookie: admin=1\r\n", "HTTP_COOKIE"),
    ("connection", b"Connection: close\r\n", "HTTP_CONNECTION"),
    ("expect", b"Expect: 100-continue\r\n", "HTTP_EXPECT"),
    ("two", b"X-One: 1\r\nX-Two: 2\r\n", "HTTP_X_TWO"),
    ("upgrade", b"Upgrade: h2c\r\n", "HTTP_UPGRADE"),
):
    request = post(TE, body=chunked(b"hello", trailer=trailer))
    case(CLAUSE, name, request, posted(absent=(absent,)))
    case(CLAUSE, f"{name}, then a request", request + get(target=b"/2"), posted(), ok("/2"))
case(
    CLAUSE,
    "does not overwrite a header",
    post(b"X-Role: user", TE, body=chunked(b"hello", trailer=b"X-Role: admin\r\n")),
    posted(environ={"HTTP_X_ROLE": "user"}),
)
case(
    CLAUSE,
    "Host does not replace Host",
    post(TE, body=chunked(b"hello", trailer=b"Host: evil\r\n")),
    posted(environ={"HTTP_HOST": "x"}),
)
case(
    CLAUSE,
    "is not merged into the next request",
    post(TE, body=chunked(b"hello", trailer=b"X-Injected: 1\r\n")) + get(target=b"/2"),
    posted(absent=("HTTP_X_INJECTED",)),
    ok("/2", absent=("HTTP_X_INJECTED",)),
)
for name, trailer in (
    ("Content-Length", b"Content-Length: 5\r\n"),
    ("Transfer-Encoding", b"Transfer-Encoding: chunked\r\n"),
    ("without colon", b"nonsense\r\n"),
    ("bare LF", b"X-A: b\n"),
    ("NUL", b"X-A: b\0c\r\n"),
    ("obs-fold", b"X-A: b\r\n c\r\n"),
    ("space before colon", b"X-A : b\r\n"),
    ("leading space", b" X-A: b\r\n"),
):
    request = post(TE, body=chunked(b"hello", trailer=trailer)) + SMUGGLED
    case(CLAUSE, f"bad: {name}", request, broken_body())
case(CLAUSE, "bad: LF for the last CRLF", post(TE, body=b"0\r\n\n"), broken_body())
CASES.append(aborted(CLAUSE, "EOF in the trailer", post(TE, body=b"0\r\nX-A: b")))

# --- 2: Upgrade and CONNECT ------------------------------------------------------------------

CLAUSE = "2 upgrade"
WS = (b"Connection: Upgrade", b"Upgrade: websocket")
H2C = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQA")
for name, headers in (("websocket", WS), ("h2c", H2C)):
    case(CLAUSE, f"{name} without body", get(*headers), ok())
    case(
        CLAUSE,
        f"{name} without body, pipelined",
        get(*headers) + get(target=b"/2") + get(*headers, target=b"/3"),
        ok(),
        ok("/2"),
        ok("/3"),
    )
    case(
        CLAUSE,
        f"{name} with Content-Length",
        post(*headers, b"Content-Length: 5", body=b"hello"),
        posted(environ={"CONTENT_LENGTH": "5", "HTTP_UPGRADE": headers[1].decode().split()[1]}),
    )
    case(
        CLAUSE,
        f"{name} with Content-Length, pipelined",
        post(*headers, b"Content-Length: 5", body=b"hello") + get(target=b"/2"),
        posted(),
        ok("/2"),
    )
    case(
        CLAUSE,
        f"{name} with chunks, pipelined",
        post(*headers, TE, body=chunked(b"hel", b"lo")) + get(target=b"/2"),
        posted(absent=("CONTENT_LENGTH",)),
        ok("/2"),
    )
    case(
        CLAUSE,
        f"{name} whose body is a request",
        post(*headers, b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED) + get(target=b"/2"),
        posted(SMUGGLED),
        ok("/2"),
    )
case(
    CLAUSE,
    "framing header before Upgrade",
    post(b"Content-Length: 5", *H2C, body=b"hello") + get(target=b"/2"),
    posted(),
    ok("/2"),
)
case(
    CLAUSE,
    "chunks with trailer",
    post(*WS, TE, body=chunked(b"hello", trailer=b"X-T: 1\r\n")) + get(target=b"/2"),
    posted(absent=("HTTP_X_T",)),
    ok("/2", absent=("HTTP_X_T",)),
)
case(
    CLAUSE,
    "Content-Length 0",
    post(*H2C, b"Content-Length: 0") + get(target=b"/2"),
    ok(method="POST"),
    ok("/2"),
)
case(
    CLAUSE,
    "two upgrades with body in a row",
    post(*WS, b"Content-Length: 5", body=b"hello") * 2 + get(target=b"/3"),
    posted(),
    posted(),
    ok("/3"),
)
case(
    CLAUSE,
    "with body and Connection: close",
    post(b"Connection: close, Upgrade", b"Upgrade: h2c", b"Content-Length: 5", body=b"hello")
    + SMUGGLED,
    posted(),
    stays=False,
    rude=True,
)
case(
    CLAUSE,
    "without body and Connection: close",
    get(b"Connection: Upgrade, close", b"Upgrade: h2c") + SMUGGLED,
    ok(),
    stays=False,
    rude=True,
)
case(CLAUSE, "in 1.0", lines(b"GET / HTTP/1.0", *WS), ok(), stays=False)
case(
    CLAUSE,
    "in 1.0 with body and keep-alive",
    lines(
        b"POST / HTTP/1.0",
        b"Connection: keep-alive, Upgrade",
        b"Upgrade: websocket",
        b"Content-Length: 5",
        body=b"hello" + get(target=b"/2"),
    ),
    posted(),
    ok("/2"),
)
case(
    CLAUSE,
    "Upgrade not named in Connection",
    post(b"Upgrade: websocket", b"Content-Length: 5", body=b"hello") + get(target=b"/2"),
    posted(),
    ok("/2"),
)
case(
    CLAUSE,
    "Connection: upgrade without Upgrade",
    post(b"Connection: upgrade", b"Content-Length: 5", body=b"hello") + get(target=b"/2"),
    posted(),
    ok("/2"),
)
case(
    CLAUSE,
    "HEAD",
    get(*WS, method=b"HEAD") + get(target=b"/2"),
    ok(method="HEAD"),
    ok("/2"),
)
for name, headers in (
    ("TE and CL", (TE, b"Content-Length: 5")),
    ("CL and TE", (b"Content-Length: 5", TE)),
    ("bad CL", (b"Content-Length: +5",)),
    ("two CL", (b"Content-Length: 5", b"Content-Length: 6")),
    ("odd TE", (b"Transfer-Encoding: xchunked",)),
):
    case(CLAUSE, f"does not hide {name}", post(*WS, *headers, body=HELLO), refused(400, 501))
    case(CLAUSE, f"after it does not hide {name}", post(*headers, *WS), refused(400, 501))
case(
    CLAUSE,
    "bad chunk size",
    post(*WS, TE, body=b"0x5\r\nhello\r\n0\r\n\r\n" + SMUGGLED),
    broken_body(),
)
CASES.append(aborted(CLAUSE, "short body", post(*WS, b"Content-Length: 9", body=b"he")))
case(CLAUSE, "missing Host", lines(b"GET / HTTP/1.1", *WS), refused())

CLAUSE = "2 connect"
for name, request in (
    ("authority", lines(b"CONNECT h:443 HTTP/1.1", b"Host: h:443")),
    ("with bytes behind", lines(b"CONNECT h:443 HTTP/1.1", b"Host: h", body=SMUGGLED)),
    ("path", lines(b"CONNECT / HTTP/1.1", b"Host: h", body=SMUGGLED)),
    ("with body", lines(b"CONNECT h:1 HTTP/1.1", b"Host: h", b"Content-Length: 5", body=b"hello")),
    ("1.0", lines(b"CONNECT h:443 HTTP/1.0")),
):
    case(CLAUSE, name, request, refused(501))

# --- 3.3: Transfer-Encoding ------------------------------------------------------------------

CLAUSE = "3.3 transfer-encoding"
case(CLAUSE, "chunked", post(TE, body=HELLO), posted(absent=("CONTENT_LENGTH",)))
case(CLAUSE, "any case", post(b"tRANSFER-eNCODING: cHUNKED", body=HELLO), posted())
case(CLAUSE, "no space", post(b"Transfer-Encoding:chunked", body=HELLO), posted())
case(CLAUSE, "on GET", get(TE, body=HELLO), ok(body=b"hello"))
for name, value in (
    ("gzip, chunked", b"gzip, chunked"),
    ("chunked, gzip", b"chunked, gzip"),
    ("chunked twice", b"chunked, chunked"),
    ("xchunked", b"xchunked"),
    ("chunkedx", b"chunkedx"),
    ("chunked and VT", b"chunked\x0b"),
    ("VT and chunked", b"\x0bchunked"),
    ("FF", b"chunked\x0c"),
    ("NUL", b"chunked\0"),
    ("NBSP", b"chunked\xa0"),
    ("identity", b"identity"),
    ("identity, chunked", b"identity, chunked"),
    ("chunked, identity", b"chunked, identity"),
    ("empty", b""),
    ("comma first", b",chunked"),
    ("comma last", b"chunked,"),
    ("parameter", b"chunked;a=b"),
    ("quoted", b'"chunked"'),
    ("gzip", b"gzip"),
    ("two words", b"chunked foo"),
    ("dotless i", b"chun\xc4\xb1ed"),
):
    request = post(b"Transfer-Encoding: " + value, body=HELLO + SMUGGLED)
    case(CLAUSE, name, request, refused(400, 501))
for name, pair in (
    ("two headers", (TE, TE)),
    ("two headers, identity first", (b"Transfer-Encoding: identity", TE)),
    ("two headers, identity last", (TE, b"Transfer-Encoding: identity")),
    ("two headers, gzip first", (b"Transfer-Encoding: gzip", TE)),
    ("two headers, empty first", (b"Transfer-Encoding:", TE)),
):
    case(CLAUSE, name, post(*pair, body=HELLO + SMUGGLED), refused(400, 501))
request = lines(b"POST / HTTP/1.0", b"Host: x", TE, body=HELLO)
case(CLAUSE, "in 1.0", request, refused(400, 501))
request = lines(b"POST / HTTP/1.0", TE, b"Connection: keep-alive", body=HELLO + SMUGGLED)
case(CLAUSE, "in 1.0 with keep-alive", request, refused(400, 501))
request = post(b"Transfer_Encoding: chunked", b"Content-Length: 5", body=b"hello")
case(CLAUSE, "underscore is no framing", request, posted(absent=("HTTP_TRANSFER_ENCODING",)))
case(CLAUSE, "space before colon", post(b"Transfer-Encoding : chunked", body=HELLO), refused())
case(CLAUSE, "folded", post(b"Transfer-Encoding:\r\n chunked", body=HELLO), refused())
request = post(b"Transfer-Encoding: chunked\r\n , gzip", body=HELLO)
case(CLAUSE, "folded list", request, refused(400, 501))

CLAUSE = "3.4 CL with TE"
for name, length in (("right", b"15"), ("short", b"3"), ("zero", b"0"), ("empty", b"")):
    cl = b"Content-Length: " + length
    case(CLAUSE, f"CL, TE: {name}", post(cl, TE, body=HELLO + SMUGGLED), refused())
    case(CLAUSE, f"TE, CL: {name}", post(TE, cl, body=HELLO + SMUGGLED), refused())
request = post(b"content-length: 5", b"X: y", b"TRANSFER-ENCODING: chunked", body=HELLO)
case(CLAUSE, "any case", request, refused())
request = post(b"Content-Length: 5", b"Transfer-Encoding: identity", body=b"hello")
case(CLAUSE, "CL with identity", request, refused(400, 501))

# --- 3.5: Content-Length ---------------------------------------------------------------------

CLAUSE = "3.5 content-length"
request = post(b"Content-Length: 5", body=b"hello")
case(CLAUSE, "plain", request, posted(environ={"CONTENT_LENGTH": "5"}))
case(CLAUSE, "on GET", get(b"Content-Length: 5", body=b"hello"), ok(body=b"hello"))
case(CLAUSE, "zero", post(b"Content-Length: 0"), ok(method="POST"))
case(CLAUSE, "none on POST", post(), ok(method="POST", absent=("CONTENT_LENGTH",)))
case(CLAUSE, "leading zeros", post(b"Content-Length: 0005", body=b"hello"), posted())
for name, value in (("space before", b"   5"), ("space after", b"5  "), ("tab before", b"\t5")):
    request = post(b"Content-Length:" + value, body=b"hello")
    case(CLAUSE, name, request, posted(environ={"CONTENT_LENGTH": "5"}))
for name, value in (
    ("plus", b"+5"),
    ("minus", b"-5"),
    ("minus zero", b"-0"),
    ("hex", b"0x5"),
    ("list of equals", b"5,5"),
    ("list with space", b"5, 5"),
    ("list of two", b"5, 6"),
    ("comma", b"5,"),
    ("underscore", b"5_0"),
    ("exponent", b"5e0"),
    ("fraction", b"5.0"),
    ("two numbers", b"5 5"),
    ("empty", b""),
    ("word", b"five"),
    ("quoted", b'"5"'),
    ("semicolon", b"5;"),
    ("arabic digit", b"\xd9\xa5"),
    ("superscript", b"\xb2"),
    ("NUL", b"5\0"),
    ("VT", b"\x0b5"),
    ("NBSP", b"\xa05"),
    ("20 digits", b"9" * 20),
    ("2 to the 64", b"18446744073709551616"),
    ("2 to the 64 and 5", b"18446744073709551621"),
    ("40 digits", b"0" * 20 + b"9" * 20),
):
    request = post(b"Content-Length: " + value, body=b"hello" + SMUGGLED)
    case(CLAUSE, name, request, refused(400, 413))
for name, pair in (
    ("two equal", (b"5", b"5")),
    ("two different", (b"5", b"6")),
    ("two, first zero", (b"0", b"5")),
    ("two, last zero", (b"5", b"0")),
    ("two, one empty", (b"", b"5")),
):
    headers = tuple(b"Content-Length: " + v for v in pair)
    case(CLAUSE, name, post(*headers, body=b"hello" + SMUGGLED), refused())
case(CLAUSE, "folded", post(b"Content-Length: 5\r\n 0", body=b"hello"), refused())
case(CLAUSE, "space before colon", post(b"Content-Length : 5", body=b"hello"), refused())
case(CLAUSE, "bare CR", post(b"Content-Length: 5\r0", body=b"hello"), refused())
case(CLAUSE, "bare LF", post(b"A: b\nContent-Length: 5", body=b"hello"), refused())
request = post(b"Content_Length: 9", b"Content-Length: 5", body=b"hello")
case(CLAUSE, "underscore does not count", request, posted(environ={"CONTENT_LENGTH": "5"}))
request = post(b"Content_Length: 5") + get(target=b"/2")
case(CLAUSE, "underscore alone", request, ok(method="POST", absent=("CONTENT_LENGTH",)), ok("/2"))
request = lines(b"POST / HTTP/1.0", b"Content-Length: 5", body=b"hello")
case(CLAUSE, "in 1.0", request, posted(), stays=False)

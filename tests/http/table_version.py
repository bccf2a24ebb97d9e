# SPDX-License-Identifier: MIT
"""Clauses 3.1 and 3.2: version, protocol name and Host (RFC 9112, 2.3 and 3.2)."""

from .cases import Table, get, lines, ok, refused

CASES = Table()
case = CASES.case

# --- 3.1: version and protocol name ----------------------------------------------------------

CLAUSE = "3.1 version"
case(CLAUSE, "1.1", get(), ok(environ={"SERVER_PROTOCOL": "HTTP/1.1"}))
case(
    CLAUSE,
    "1.0",
    lines(b"GET / HTTP/1.0"),
    ok(environ={"SERVER_PROTOCOL": "HTTP/1.0"}),
    stays=False,
)
for version in (b"0.9", b"1.2", b"1.9", b"2.0", b"3.0", b"0.0"):
    request = lines(b"GET / HTTP/" + version, b"Host: x")
    case(CLAUSE, version.decode(), request, refused(400, 505))
for name, line in (
    ("0.9 without version", b"GET /"),
    ("0.9 with trailing space", b"GET / "),
    ("1.10", b"GET / HTTP/1.10"),
    ("11", b"GET / HTTP/11"),
    ("1", b"GET / HTTP/1"),
    ("1.", b"GET / HTTP/1."),
    ("1,1", b"GET / HTTP/1,1"),
    ("1.1x", b"GET / HTTP/1.1x"),
    ("trailing space", b"GET / HTTP/1.1 "),
    ("trailing word", b"GET / HTTP/1.1 x"),
    ("lowercase", b"GET / http/1.1"),
    ("mixed case", b"GET / Http/1.1"),
    ("no slash", b"GET / HTTP 1.1"),
    ("leading zero", b"GET / HTTP/01.1"),
    ("plus", b"GET / HTTP/+1.1"),
    ("RTSP", b"GET / RTSP/1.0"),
    ("RTSP OPTIONS", b"OPTIONS / RTSP/1.0"),
    ("RTSP beside HTTP", b"GET / RTSP/1.0\r\nX: GET / HTTP/1.0"),
    ("RTSP whose target holds HTTP", b"GET /GET%20/HTTP/1.0 RTSP/1.0\r\nX: y"),
    ("RTSP method", b"DESCRIBE / RTSP/1.0"),
    ("ICE", b"GET / ICE/1.0"),
    ("ICE SOURCE", b"SOURCE / ICE/1.0"),
    ("HTTPS", b"GET / HTTPS/1.1"),
    ("FTP", b"GET / FTP/1.1"),
):
    case(CLAUSE, name, lines(line, b"Host: x"), refused(400, 501, 505))
request = lines(b"GET / HTTP/1.0", b"Connection: keep-alive") + lines(b"GET / RTSP/1.0")
case(CLAUSE, "RTSP behind HTTP", request, ok(), refused(400, 505))
request = lines(b"GET / HTTP/1.0", b"Connection: keep-alive", b"X: GET / RTSP/1.0")
case(
    CLAUSE,
    "HTTP with RTSP in a header",
    request + lines(b"GET /2 HTTP/1.0"),
    ok(),
    ok("/2"),
    stays=False,
)
case(CLAUSE, "HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", refused(400, 501, 505))
case(CLAUSE, "TLS hello", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"\0" * 64, refused())
case(CLAUSE, "method after a TLS alert", b"\x15\x03\x01\x00\x02\x02\x16", refused())

# --- 3.2: Host -------------------------------------------------------------------------------

CLAUSE = "3.2 host"
case(CLAUSE, "missing in 1.1", lines(b"GET / HTTP/1.1"), refused())
case(CLAUSE, "missing, other headers", lines(b"GET / HTTP/1.1", b"X-Host: x"), refused())
case(CLAUSE, "missing in 1.0", lines(b"GET / HTTP/1.0"), ok(absent=("HTTP_HOST",)), stays=False)
case(CLAUSE, "two different", get(b"Host: evil"), refused())
case(CLAUSE, "two equal", get(b"Host: x"), refused())
case(CLAUSE, "two, other case", get(b"hOST: evil"), refused())
case(CLAUSE, "two in 1.0", lines(b"GET / HTTP/1.0", b"Host: a", b"Host: b"), refused())
for name, value in (
    ("space", b"a b"),
    ("slash", b"a/b"),
    ("userinfo", b"u@a"),
    ("question mark", b"a?b"),
    ("hash", b"a#b"),
    ("backslash", b"a\\b"),
    ("scheme", b"http://a"),
    ("port not a number", b"a:b"),
    ("tab", b"a\tb"),
    ("angle", b"a<b"),
    ("quote", b'a"b'),
    ("open bracket", b"[::1"),
    ("NUL", b"a\0b"),
):
    case(CLAUSE, f"bad value: {name}", lines(b"GET / HTTP/1.1", b"Host: " + value), refused())
for value in (
    b"a",
    b"a:",
    b"a,b",
    b"%41",
    b"a:80",
    b"a.example.",
    b"1.2.3.4:8080",
    b"[::1]",
    b"[2001:db8::1]:81",
    b"a_b",
):
    case(
        CLAUSE,
        f"value {value.decode()}",
        lines(b"GET / HTTP/1.1", b"Host: " + value),
        ok(environ={"HTTP_HOST": value.decode()}),
    )
case(CLAUSE, "empty", lines(b"GET / HTTP/1.1", b"Host:"), ok(environ={"HTTP_HOST": ""}))

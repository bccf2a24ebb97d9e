# SPDX-License-Identifier: MIT
"""The application that every server runs: a greeting, an upload that counts, and the origin."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

HELLO = b"Hello, World!"
UPLOAD_STEP = 65536


def received(stream: Any) -> bytes:
    """Reads the body in steps, like an application that stores it. Returns its length."""
    total = 0
    while piece := stream.read(UPLOAD_STEP):
        total += len(piece)
    return b"%d" % total


def origin_text(environ: dict[str, Any]) -> str:
    """`HOST:PORT`, with ` verified` when ct.verified is set; `none` without an origin.

    gunicorn's own names for the destination of a PROXY header are PROXY_ADDR and PROXY_PORT.
    """
    destination = environ.get("ct.orig_dst")
    if destination is None and "PROXY_ADDR" in environ:
        destination = environ["PROXY_ADDR"], environ["PROXY_PORT"]
    if destination is None:
        return "none"
    verified = " verified" if environ.get("ct.verified") else ""
    return f"{destination[0]}:{destination[1]}{verified}"


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["REQUEST_METHOD"] == "POST":
        body = received(environ["wsgi.input"])
    elif environ["PATH_INFO"] == "/origin":
        body = origin_text(environ).encode()
    else:
        body = HELLO
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]

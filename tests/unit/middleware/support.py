# SPDX-License-Identifier: MIT
"""What the tests of the middleware share: a request, and what gunicorn adds to its environ."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any

from werkzeug.middleware.lint import LintMiddleware
from werkzeug.test import Client, TestResponse

HEADER_DST = ("198.18.0.7", 80)
HEADER_SRC = ("203.0.113.9", 4711)


class Recorder:
    """A WSGI application that keeps the environ of the last request that reached it."""

    def __init__(self) -> None:
        self.environ: Any = None

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., object]
    ) -> list[bytes]:
        self.environ = environ
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
        return [b"ok"]


def get(
    application: Any, environ: Mapping[str, Any] | tuple[()] = (), path: str = "/", **keys: Any
) -> TestResponse:
    """The response to a GET with `environ` and `keys` in its environ, under wsgiref's lint."""
    overrides = {**dict(environ), **keys}
    client = Client(LintMiddleware(application))
    return client.get(path, environ_overrides=overrides, buffered=True)


def gunicorn_environ(
    sock: socket.socket | None,
    dst: tuple[str, int] = HEADER_DST,
    src: tuple[str, int] = HEADER_SRC,
    protocol: str = "TCP4",
) -> dict[str, Any]:
    """What gunicorn 27 writes for a connection with a PROXY header (http/wsgi.py)."""
    return {
        "gunicorn.socket": sock,
        "PROXY_PROTOCOL": protocol,
        "PROXY_ADDR": dst[0],
        "PROXY_PORT": str(dst[1]),
        "REMOTE_ADDR": src[0],
        "REMOTE_PORT": str(src[1]),
    }

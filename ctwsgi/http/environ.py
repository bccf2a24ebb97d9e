# SPDX-License-Identifier: MIT
"""Builds the WSGI environ (PEP 3333) from a request's head; checks header names and target."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote_to_bytes

from .errors import HTTPError
from .request import Request

_KEYS_KEPT = 4096
_KEPT_LENGTH = 40
_keys: dict[bytes, str] = {}
"""Header name as sent, to environ key; '' for names that are dropped.

An attacker can send any number of spellings, so entries and their length are bounded.
"""

_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?")
"""Host and port as RFC 3986, 3.2.2 and 3.2.3 define them; no userinfo, no path."""


def build(base: dict[str, Any], request: Request) -> dict[str, Any]:
    """`base` has the keys that are the same for the connection. HTTPError(400) for a bad head."""
    environ = base.copy()
    environ["REQUEST_METHOD"] = request.method
    environ["SERVER_PROTOCOL"] = "HTTP/1.1" if request.version == "1.1" else "HTTP/1.0"
    _add_headers(environ, request)
    _add_target(environ, request)
    host = environ.get("HTTP_HOST")
    if host is not None and _HOST.fullmatch(host) is None:
        raise HTTPError(400, "host")
    return environ


def _add_headers(environ: dict[str, Any], request: Request) -> None:
    for name, value in request.headers:
        key = _keys.get(name)
        if key is None:
            key = _environ_key(name)
        if not key:
            continue
        text = value.decode("latin-1")
        if text and text[-1] in " \t":  # llhttp strips leading white space only
            text = text.rstrip(" \t")
        if key in environ:
            text = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{text}"
        environ[key] = text


def _environ_key(name: bytes) -> str:
    if b"_" in name:
        key = ""  # its environ key would be that of the header with '-' instead
    else:
        key = name.decode("ascii").upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = "HTTP_" + key
    if len(name) <= _KEPT_LENGTH:
        if len(_keys) >= _KEYS_KEPT:
            _keys.clear()
        _keys[name] = key
    return key


def _add_target(environ: dict[str, Any], request: Request) -> None:
    """RFC 9112, 3.2: origin-form, absolute-form, and `*` for OPTIONS."""
    target = request.target
    environ["RAW_URI"] = target
    if "#" in target:
        raise HTTPError(400, "fragment")
    if target[0] != "/":
        if target == "*":
            if request.method != "OPTIONS":
                raise HTTPError(400, "target")
        else:
            target = _absolute(environ, target)
    path, _, environ["QUERY_STRING"] = target.partition("?")
    if "%" in path:
        path = unquote_to_bytes(path).decode("latin-1")
    environ["PATH_INFO"] = path


def _absolute(environ: dict[str, Any], target: str) -> str:
    """Replaces Host by the target's authority (RFC 9112, 3.2.2); returns path and query."""
    scheme, separator, rest = target.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        raise HTTPError(400, "target")
    end = min((i for i in map(rest.find, "/?") if i >= 0), default=len(rest))
    authority, rest = rest[:end], rest[end:]
    if authority[:1] in ("", ":") or _HOST.fullmatch(authority) is None:
        raise HTTPError(400, "authority")
    environ["HTTP_HOST"] = authority
    return rest if rest.startswith("/") else "/" + rest

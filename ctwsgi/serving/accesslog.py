# SPDX-License-Identifier: MIT
"""gunicorn's access log, with the original destination and with escaped values.

Clients choose most of an access line: the decoded path, the user of Basic authentication, header
values. Control characters, quotes and backslashes are escaped as Apache does, so that one request
is one line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from gunicorn import glogging

from ..origin import Address
from ..server import Access
from ..wire.address import show

_UNSAFE = re.compile('[\x00-\x1f"\\\\\x7f-\x9f\u2028\u2029]')
_NAMED = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    return _NAMED.get(char) or (f"\\x{ord(char):02x}" if char < "\xff" else f"\\u{ord(char):04x}")


class SafeAtoms(glogging.SafeAtoms):  # type: ignore[misc]
    """Escapes each value when it is looked up; numbers stay numbers for %d."""

    def __init__(self, atoms: dict[str, Any]) -> None:
        self.update(atoms)

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        return value if isinstance(value, int | float) else _UNSAFE.sub(_escape, str(value))


class OriginAtoms:
    """Adds `%(orig_dst)s`, the original destination or `-`, to a gunicorn logger."""

    atoms_wrapper_class = SafeAtoms

    def atoms(self, resp: Any, req: Any, environ: dict[str, Any], request_time: Any) -> Any:
        atoms = super().atoms(resp, req, environ, request_time)  # type: ignore[misc]
        destination: Address | None = environ.get("ct.orig_dst")
        atoms["orig_dst"] = show(*destination) if destination else "-"
        return atoms


class Logger(OriginAtoms, glogging.Logger):  # type: ignore[misc]
    """gunicorn's logger_class for `ctwsgi serve`."""


def statsd_logger() -> type:
    """gunicorn's statsd logger with the same atoms; it is imported only when it is used."""
    from gunicorn.instrument.statsd import Statsd

    return type("StatsdLogger", (OriginAtoms, Statsd), {})


def wants_access(log: Any) -> bool:
    """Whether log.access() has an effect: an access log is on, or statsd is."""
    return bool(log.access_log_enabled) or type(log).access is not glogging.Logger.access


class _Response:
    """An Access in the form of gunicorn's response objects."""

    __slots__ = ("headers", "response_length", "sent", "status")

    def __init__(self, access: Access) -> None:
        self.status = access.status
        self.headers = access.headers
        self.sent = self.response_length = access.sent


class _Request:
    """An environ in the form of gunicorn's request objects."""

    __slots__ = ("_environ",)

    def __init__(self, environ: dict[str, Any]) -> None:
        self._environ = environ

    @property
    def headers(self) -> list[tuple[str, str]]:
        return [
            (key.removeprefix("HTTP_").replace("_", "-"), value)
            for key, value in self._environ.items()
            if key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH")
        ]


def reporter(log: Any) -> Callable[[Access], None]:
    """A function for WSGIServer's `access` that calls gunicorn's `log.access()`."""

    def report(access: Access) -> None:
        environ = access.environ
        seconds = timedelta(seconds=access.seconds)
        log.access(_Response(access), _Request(environ), environ, seconds)

    return report

# SPDX-License-Identifier: MIT
"""The servers that are compared, each with one worker, and the workloads."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from fnmatch import fnmatch

from .app import HELLO
from .netns import DIALLED

APP = "bench.app:application"
DESTINATION = "198.18.0.1:80"
"""The destination that the load generator writes, from the range for benchmarks (RFC 2544)."""

UPLOAD_BYTES = 10_000_000
REFERENCE = "gunicorn-gevent"


@dataclass(frozen=True)
class Side:
    """A server in one configuration. `{port}` and `{keys}` in its command are replaced."""

    name: str
    command: tuple[str, ...]
    origin: str = "none"
    """The origin's format: `none`, `ctframe`, `proxy-v2`, `signed`, or the kernel's `conntrack`
    or `tproxy`, which need a namespace."""
    verified: bool = False
    """The expected value of `ct.verified`."""
    package: str | None = None
    """The package that it needs and the project does not."""

    @property
    def in_namespace(self) -> bool:
        return self.origin in ("conntrack", "tproxy")

    @property
    def expected_origin(self) -> str:
        """The application's expected answer at /origin."""
        if self.origin == "none":
            return "none"
        destination = f"{DIALLED[0]}:{DIALLED[1]}" if self.in_namespace else DESTINATION
        return destination + (" verified" if self.verified else "")

    @property
    def can_profile(self) -> bool:
        return "bench.host" in self.command


@dataclass(frozen=True)
class Workload:
    """The load generator's options, except for `seconds`."""

    name: str
    title: str
    options: tuple[str, ...]
    origins: tuple[str, ...] | None = None
    """The formats of the sides that it applies to; None for all."""
    body: int = 0

    @property
    def expect(self) -> str:
        return str(self.body) if self.body else HELLO.decode()

    def suits(self, side: Side) -> bool:
        return self.origins is None or side.origin in self.origins


@dataclass(frozen=True)
class Row:
    """A row of the table: a side with a workload."""

    side: Side
    workload: Workload

    @property
    def name(self) -> str:
        return f"{self.side.name}-{self.workload.name}"


def _upload(name: str, what: str, origin: str, *options: str) -> Workload:
    return Workload(
        name,
        f"upload of {UPLOAD_BYTES // 10**6} MB, {what}, 4 connections",
        ("--connections", "4", "--body", str(UPLOAD_BYTES), *options),
        (origin,),
        UPLOAD_BYTES,
    )


WORKLOADS = (
    Workload("keepalive", "keep-alive hello, 64 connections", ("--connections", "64")),
    Workload(
        "new", "new connection per request, 64 at once", ("--connections", "64", "--new-connection")
    ),
    _upload("upload", "no frames", "none"),
    _upload("upload-1448", "1448-byte frames", "ctframe", "--frame-size", "1448"),
    _upload("upload-64k", "65535-byte frames", "ctframe", "--frame-size", "65535"),
)

_PYTHON = (sys.executable, "-m")
_GUNICORN = (
    *_PYTHON,
    *("gunicorn", "--worker-class", "gevent", "--workers", "1", "--bind", "127.0.0.1:{port}"),
    *("--no-control-socket", "--log-level", "warning"),
)
_GRANIAN = (
    *_PYTHON,
    *("granian", "--interface", "wsgi", "--workers", "1", "--http", "1", "--no-ws"),
    *("--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning"),
)
_SERVE = (
    *_PYTHON,
    *("ctwsgi", "serve", "--workers", "1", "--bind", "127.0.0.1:{port}", "--log-level", "warning"),
)

_OTHERS = (
    Side("pywsgi-nodelay", (*_PYTHON, "bench.host", "pywsgi", "{port}")),
    Side(REFERENCE, (*_GUNICORN, APP)),
    Side(
        f"{REFERENCE}-proxy-v2",
        (*_GUNICORN, "--proxy-protocol", "v2", "--proxy-allow-from", "127.0.0.1", APP),
        "proxy-v2",
    ),
    Side("granian", (*_GRANIAN, APP), package="granian"),
)

# (suffix of the name, options of the server, format of the origin, verified)
_SOURCES = (
    ("", (), "none", False),
    ("-ctframe", ("--source", "ctframe"), "ctframe", False),
    ("-proxy-v2", ("--source", "proxy-v2"), "proxy-v2", False),
    (
        "-proxy-v2-signed",
        ("--source", "proxy-v2", "--auth-key-file", "{keys}"),
        "signed",
        True,
    ),
    ("-conntrack", ("--source", "conntrack"), "conntrack", True),
    ("-tproxy", ("--source", "tproxy"), "tproxy", True),
)

_OURS = tuple(
    Side(f"ours{suffix}", (*_PYTHON, "bench.host", "ours", "{port}", *options), origin, verified)
    for suffix, options, origin, verified in _SOURCES
)
_SERVED = tuple(
    Side(f"serve{suffix}", (*_SERVE, *options, APP), origin, verified)
    for suffix, options, origin, verified in _SOURCES
)

SIDES = (*_OTHERS, *_OURS, *_SERVED)


def rows(patterns: list[str]) -> list[Row]:
    """All rows, or those whose name matches one of the shell patterns, sorted by workload."""
    every = [Row(side, work) for work in WORKLOADS for side in SIDES if work.suits(side)]
    if not patterns:
        return every
    return [row for row in every if any(fnmatch(row.name, pattern) for pattern in patterns)]

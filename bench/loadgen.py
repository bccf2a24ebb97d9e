# SPDX-License-Identifier: MIT
"""Calls the load generator, and makes a `Run` of its line of JSON."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from .build import build_loadgen
from .sides import DESTINATION

CLIENT = ("192.0.2.7", 51234)
"""The source address in signed headers, as in the unsigned ones of loadgen_output.c."""


@dataclass(frozen=True)
class Run:
    """The load generator's result. `requests` counts all answers, also wrong ones."""

    requests: int
    errors: int
    non_200: int
    connections: int
    seconds: float
    rps: float
    p50_us: int
    p99_us: int
    first_error: str

    @property
    def fault(self) -> str:
        """Why the run is invalid; empty when it is valid."""
        if self.errors:
            return f"{self.errors} errors ({self.first_error})"
        if self.non_200:
            return f"{self.non_200} answers were not 200"
        return "" if self.requests else "no request was answered"

    @property
    def faultless(self) -> bool:
        return not self.fault


class Loadgen:
    """The load generator for one side: its origin, its address and its namespace."""

    def __init__(
        self,
        origin: str,
        host: str,
        port: int,
        inside: Callable[[Iterable[str]], list[str]],
        directory: Path,
    ) -> None:
        self._origin = origin
        self._inside = inside
        self._directory = directory
        self._program = [str(build_loadgen()), "--address", host, "--port", str(port)]

    def run(self, *options: str, expect: str, seconds: float) -> Run:
        """Does one run. RuntimeError when the load generator itself fails."""
        call = [*self._program, *self._written(), "--expect", expect, "--seconds", str(seconds)]
        done = subprocess.run(
            self._inside([*call, *options]), capture_output=True, text=True, timeout=seconds + 60
        )
        if done.returncode:
            raise RuntimeError(f"loadgen: {done.stderr.strip()}")
        return Run(**json.loads(done.stdout))

    def _written(self) -> list[str]:
        if self._origin == "signed":
            return ["--header-file", str(self._signed_header())]
        if self._origin in ("ctframe", "proxy-v2"):
            return ["--format", self._origin, "--destination", DESTINATION]
        return []

    def _signed_header(self) -> Path:
        """A new header for each run, because a header is valid for 300 seconds."""
        from ctwsgi.wire.auth import KeyRing
        from ctwsgi.wire.proxy import encode_v2

        host, _, port = DESTINATION.partition(":")
        key = KeyRing.load(self._directory / "keys").signer()
        path = self._directory / "header"
        path.write_bytes(encode_v2(CLIENT, (host, int(port)), key=key))
        return path

# SPDX-License-Identifier: MIT
"""How connections and requests end: counted, and reported to the log and the access log."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..wire.address import show
from .ratelimit import RateLimit

if TYPE_CHECKING:
    from ..errors import OriginError
    from ..http.errors import HTTPError
    from ..http.response import Response
    from ..origin import Address


@dataclass(frozen=True, slots=True)
class Access:
    """One answered request, for an access log."""

    environ: dict[str, Any]
    status: str
    headers: list[tuple[str, str]]
    sent: int
    """Bytes of body."""
    seconds: float


class Outcomes:
    """The counters and logs that all connections of a server share."""

    __slots__ = ("access", "counters", "limited_log", "log", "served")

    def __init__(
        self,
        log: logging.Logger,
        access: Callable[[Access], None] | None,
        counters: Counter[str] | None,
    ) -> None:
        self.log = log
        self.limited_log = RateLimit(log)
        """For lines that a client can cause as often as it likes."""
        self.access = access
        self.counters: Counter[str] = Counter() if counters is None else counters
        """By name: `accepted`, `requests`, `refused:REASON`, `bad-request:REASON`, ..."""
        self.served = 0

    def answered(self, environ: dict[str, Any], response: Response, started: float) -> None:
        """A response was sent, completely or in part."""
        self.served += 1
        self.counters["requests"] += 1
        if self.access is not None:
            seconds = time.monotonic() - started
            try:
                self.access(
                    Access(environ, response.status, response.headers, response.sent, seconds)
                )
            except Exception:
                self.log.exception("error in the access log")

    def refused(self, error: OriginError, peer: Address | None) -> None:
        """An origin was not accepted."""
        self.counters[f"refused:{error.reason}"] += 1
        self.limited_log.warning("origin refused: %s (peer %s)", error, _show(peer))

    def bad_request(self, error: HTTPError, peer: Address | None) -> None:
        """A request was not accepted."""
        self.counters[f"bad-request:{error.reason}"] += 1
        self.limited_log.info("bad request: %s (peer %s)", error, _show(peer))


def _show(peer: Address | None) -> str:
    if peer is None:
        return "on a unix socket"
    return show(*peer)

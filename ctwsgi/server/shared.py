# SPDX-License-Identifier: MIT
"""What all connections of a server have in common. The server fills it, its connections read it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..http.limits import Limits, Timeouts
    from ..origin import Address
    from ..source import Source
    from .outcomes import Outcomes

_RECV_SIZE = 65536

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass(slots=True)
class ServerShared:
    """Made with the server; `bound` and `environ` are set when the server binds its listener."""

    application: WSGIApplication
    source: Source
    timeouts: Timeouts
    limits: Limits
    outcomes: Outcomes
    bound: Address | None = None
    """The listener's own address; None for a unix socket."""
    environ: dict[str, Any] = field(default_factory=dict)
    """The part of a request's environ that is the same for all connections."""
    draining: bool = False
    """Idle connections close, begun requests are answered, nothing new is accepted."""
    cutting: bool = False
    """Connections that still wait for their client end."""
    buffer: bytearray = field(default_factory=lambda: bytearray(_RECV_SIZE))
    """One for all connections: nothing blocks between recv_into() and the parser."""

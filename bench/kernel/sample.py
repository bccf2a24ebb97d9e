# SPDX-License-Identifier: MIT
"""One run of the client, and checks that it measured what it should."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ctwsgi.errors import OriginError
from ctwsgi.wire import proxy
from ctwsgi.wire.auth import KeyRing
from ctwsgi.wire.ctframe import HEADER_SIZE, FrameDecoder

from .gateway import CLIENT, KEY, OWN_PORT
from .plan import SIDES, WARM_UP, WORKLOADS, Side, Workload

REQUEST_SIZE = 128
"""As in wire.h."""

ANSWER_SIZE = 256

MOST_IDLE = 0.001
"""The largest valid share of idle time: idle time would count as instructions."""


@dataclass(frozen=True)
class Sample:
    """A line of guest.py's report."""

    side: Side
    workload: Workload
    ticks: int
    """Instructions."""
    idle: int
    """Nanoseconds."""
    sent: int
    received: int
    packets: int
    counters: dict[str, int]
    server: dict[str, Any]
    time: int = 0
    """Nanoseconds, the same as `ticks` where the clock counts instructions."""
    median: int = 0
    """Ticks that a connection took: the median."""
    p99: int = 0
    """Ticks that a connection took: the 99th percentile."""
    last: str = ""
    """The end of the last answer, in hex."""
    round: int = -1
    hooks: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def cost(self) -> float:
        """Instructions of client, gateway and server together, per unit of the workload."""
        return self.ticks / self.workload.units

    @property
    def connections(self) -> int:
        """Number of connections that the server must have seen."""
        request = self.workload.verb == "connect"
        return self.sent + WARM_UP if request else self.workload.streams

    @property
    def payload(self) -> int:
        """Bytes that the server must have read, headers and frames not counted."""
        request = self.workload.verb == "connect"
        return self.connections * REQUEST_SIZE if request else self.sent

    @property
    def fault(self) -> str:
        """Why the sample is invalid; empty when it is valid."""
        if self.idle > self.ticks * MOST_IDLE:
            return f"idle for {self.idle} ns of {self.ticks}"
        if self.workload.verb == "http":
            return self._page_fault()
        if self.server["connections"] != self.connections:
            return f"{self.server['connections']} connections instead of {self.connections}"
        wrote = self.server["bytes"] - self.payload
        try:
            expected = self._written(bytes.fromhex(self.server["head"]))
        except (OriginError, ValueError) as e:
            return f"the origin: {e}"
        if wrote != expected:
            return f"{wrote} bytes beside the payload instead of {expected}"
        request = self.workload.verb == "connect"
        back = self.sent * ANSWER_SIZE if request else self.payload + wrote
        return "" if self.received == back else f"{self.received} came back instead of {back}"

    def _page_fault(self) -> str:
        """The same for nginx, whose answer has the addresses that it has understood."""
        answer = bytes.fromhex(self.last)
        expected = f"{CLIENT} {self.workload.dialled}" if self.side.writes == "proxy" else "none"
        if not answer.startswith(b"HTTP/1.1 200 ") or not answer.endswith(f"\n{expected}".encode()):
            return f"{answer!r} instead of {expected}"
        back = self.sent * len(answer)
        return "" if self.received == back else f"{self.received} came back instead of {back}"

    def _written(self, head: bytes) -> int:
        """Bytes of headers and frames, judged by the start of a connection. ValueError if wrong."""
        origin = (self.workload.dialled, OWN_PORT)
        if self.side.writes == "ctframe":
            frames = FrameDecoder()
            frames.feed(head)
            if frames.destination != origin:
                raise ValueError(f"{frames.destination}")
            return self.counters["ctframe_frames"] * HEADER_SIZE
        if self.side.writes == "none":
            if self.counters.get("ctproxy_headers") or self.counters.get("ctframe_frames"):
                raise ValueError("something was written")
            return 0
        keys = KeyRing.parse(KEY) if self.side.signed else None
        found = proxy.decode(head, keys=keys, window=0)
        if not found:
            raise ValueError("no whole header")
        header, size = found
        if header.dst != origin or not header.src or header.src[0] != CLIENT:
            raise ValueError(f"{header.src} to {header.dst}")
        return size * self.connections


def parse(lines: Iterable[str]) -> tuple[float, list[Sample]]:
    """(clock ticks per instruction, samples) of a report."""
    samples = []
    clock = 0.0
    for line in lines:
        facts = json.loads(line)
        if "instructions" in facts:
            clock = facts["ticks"] / facts["instructions"]
            continue
        facts["side"], facts["workload"] = SIDES[facts["side"]], WORKLOADS[facts["workload"]]
        samples.append(Sample(**facts))
    return clock, samples

# SPDX-License-Identifier: MIT
"""What is compared, with which work, and what is aimed at."""

from __future__ import annotations

from dataclasses import dataclass

PLAIN = "plain"
HAPROXY = "haproxy"

CONNECTIONS, WARM_UP, PARALLEL, STREAMS = 1000, 100, 16, 8


@dataclass(frozen=True)
class Side:
    """Who does the gateway's job, and what is loaded meanwhile."""

    name: str
    title: str
    writes: str = "none"
    """What the server finds before the payload: `none`, `proxy` or `ctframe`."""
    module: bool = False
    helper: str = ""
    """Of the rule that selects the connections; none does when empty."""
    signed: bool = False
    beside: bool = False
    """The module is in use, by another connection."""
    apart: bool = False
    """The rule that selects has a filter chain of its own, which looks at every packet; else it
    stands in the translating chain, which looks at the first packet of a connection."""
    by_client: bool = False
    """The client itself writes the header: what one costs by being there, nobody injecting it."""

    ebpf: str = ""
    """Which eBPF programs are on the device to the server: EBPF, or one of FLOORS."""
    flows: int = 0
    """Connections that somebody else has open meanwhile: gateway.crowd()."""
    base: str = PLAIN
    """What it is held against."""

    @property
    def selects(self) -> bool:
        """Some connection is the module's business."""
        return bool(self.helper) or self.beside


EBPF = "ctwsgi"
FLOORS = ("nothing", "bare", "tcx")
"""Of floor.bpf.c; the last is `nothing`, put where no qdisc and no filter is asked for it."""

SIDES = {
    side.name: side
    for side in (
        Side(PLAIN, "DNAT, no module"),
        Side("loaded", "DNAT, module loaded, no rule", module=True),
        Side("beside", "DNAT, module used by others", module=True, beside=True),
        Side("ctproxy", "DNAT and ctproxy", "proxy", True, "ctproxy"),
        Side("ctproxy-apart", "the same, selected apart", "proxy", True, "ctproxy", apart=True),
        Side("ctproxy-signed", "DNAT and ctproxy, with a key", "proxy", True, "ctproxy", True),
        Side("ctframe", "DNAT and ctframe", "ctframe", True, "ctframe"),
        Side("ebpf", "DNAT and the eBPF program", "proxy", ebpf=EBPF),
        Side("ebpf-signed", "the same, with a key", "proxy", signed=True, ebpf=EBPF),
        Side("tc-nothing", "DNAT, and two eBPF programs that do nothing", ebpf="nothing"),
        Side("tcx-nothing", "the same two, attached by tcx (Linux 6.6)", ebpf="tcx"),
        Side("tc-bare", "DNAT, and two that do nothing but the header", "proxy", ebpf="bare"),
        Side("plain-1k", "DNAT, 1,000 connections open", flows=1000),
        Side("plain-100k", "DNAT, 100,000 connections open", flows=100_000),
        Side("ebpf-1k", "and the program", "proxy", ebpf=EBPF, flows=1000, base="plain-1k"),
        Side("ebpf-100k", "and the program", "proxy", ebpf=EBPF, flows=100_000, base="plain-100k"),
        Side("by-client", "DNAT, and the client writes a header", "proxy", by_client=True),
        Side(HAPROXY, "REDIRECT to haproxy, send-proxy-v2", "proxy"),
    )
}


@dataclass(frozen=True)
class Workload:
    """One run of the client. Its words stand before and behind the address."""

    name: str
    title: str
    verb: str
    dialled: str
    """The original destination; gateway.py says where it leads."""
    words: tuple[int, ...]
    units: int
    """What the run is divided by; `unit` says of what."""
    unit: str
    segments: bool = True
    """Segments cross the wires as big as TCP makes them; else none exceeds the MTU."""

    @property
    def streams(self) -> int:
        """Connections of an upload."""
        return self.words[1] if len(self.words) == 2 else 1

    def taken(self, side: Side) -> bool:
        """Whether there is something to compare, with a server that understands what is written."""
        if side.by_client:
            return self.verb != "upload"
        return self.verb != "http" or side.writes != "ctframe"


WORKLOADS = {
    work.name: work
    for work in (
        Workload(
            "connect",
            f"connections, {PARALLEL} at a time: a request, an answer, the end",
            *("connect", "198.18.0.1", (CONNECTIONS, PARALLEL, WARM_UP), CONNECTIONS, "connection"),
        ),
        Workload(
            "upload",
            "upload, one connection, segments of up to 64 KB (TSO)",
            *("upload", "198.18.0.2", (200,), 200, "MB"),
        ),
        Workload(
            "upload-8",
            "upload, eight connections, segments of up to 64 KB (TSO)",
            *("upload", "198.18.0.2", (200, STREAMS), 200, "MB"),
        ),
        Workload(
            "nginx",
            f"nginx, {PARALLEL} connections at a time: a request, an answer of 30 bytes, the end",
            *("http", "198.18.0.4", (CONNECTIONS, PARALLEL, WARM_UP), CONNECTIONS, "connection"),
        ),
        Workload(
            "upload-mtu",
            "upload, one connection, packets of 1500 bytes (no TSO, GSO, GRO)",
            *("upload", "198.18.0.2", (30,), 30, "MB", False),
        ),
    )
}


@dataclass(frozen=True)
class Aim:
    """A target. `least` is for the ratio to plain; `most` for the cost as a share of haproxy's."""

    side: str
    workload: str
    least: float = 0.0
    most: float = 0.0


NOISE = 0.99
"""Nothing here is noisy. One part in a hundred is what no clock would tell apart."""

AIMS = (
    *(Aim(side, work, NOISE) for side in ("loaded", "beside") for work in ("connect", "upload")),
    Aim("ctproxy", "connect", 0.95),
    Aim("ctproxy", "upload", 0.98),
    Aim("ctframe", "upload", 0.90),
    Aim("ebpf", "connect", 0.95),
    Aim("ebpf", "upload", 0.98),
    Aim("ebpf", "upload-8", 0.98),
    Aim("ebpf", "nginx", 0.95),
    *(
        Aim(side, "connect", most=0.2)
        for side in ("ctproxy", "ctproxy-signed", "ctframe", "ebpf", "ebpf-signed")
    ),
)

# SPDX-License-Identifier: MIT
"""The sides that are compared, the workloads, and the targets."""

from __future__ import annotations

from dataclasses import dataclass

PLAIN = "plain"
HAPROXY = "haproxy"

CONNECTIONS, WARM_UP, PARALLEL, STREAMS = 1000, 100, 16, 8


@dataclass(frozen=True)
class Side:
    """One way to set up the gateway."""

    name: str
    title: str
    writes: str = "none"
    """What the server finds before the payload: `none`, `proxy` or `ctframe`."""
    module: bool = False
    helper: str = ""
    """The helper in the rule that selects the connections; empty: no rule selects any."""
    signed: bool = False
    beside: bool = False
    """The module is in use by another connection, not by the measured ones."""
    apart: bool = False
    """The selecting rule is in a filter chain of its own, which every packet passes. Otherwise it
    is in the translating chain, which only the first packet of a connection passes."""
    by_client: bool = False
    """The client itself writes the header: the cost of a header that is not injected."""

    ebpf: str = ""
    """The eBPF programs on the device to the server: EBPF, or one of FLOORS; empty: none."""
    flows: int = 0
    """Number of other connections that are open meanwhile: gateway.crowd()."""
    base: str = PLAIN
    """The side that it is compared with."""

    @property
    def selects(self) -> bool:
        """Whether the module handles any connection."""
        return bool(self.helper) or self.beside


EBPF = "ctwsgi"
FLOORS = ("nothing", "bare", "tcx")
"""Programs of floor.bpf.c; `tcx` is `nothing`, attached by tcx instead of a qdisc and a filter."""

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
    """One run of the client: `verb`, the address `dialled`, and `words` are its arguments."""

    name: str
    title: str
    verb: str
    dialled: str
    """The original destination; gateway.py says where it leads."""
    words: tuple[int, ...]
    units: int
    """The number of units in the run, in which results are given; `unit` is their name."""
    unit: str
    segments: bool = True
    """With segmentation offload, segments are as large as TCP makes them; else at most the MTU."""
    delay: str = ""
    """What tc calls the delay of the server's wire, each way. Empty: none, and no netem."""

    @property
    def streams(self) -> int:
        """Number of connections of an upload."""
        return self.words[1] if len(self.words) == 2 else 1

    def taken(self, side: Side) -> bool:
        """Whether the side runs this workload: the server must understand what the side writes."""
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
            "connect-delay",
            f"the same, {PARALLEL} at a time, and the server is 0.2 ms away",
            *("connect", "198.18.0.1", (CONNECTIONS, PARALLEL, WARM_UP), CONNECTIONS, "connection"),
            delay="100us",
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
    """A target: `least` for the ratio to plain, or `most` for the cost as a share of haproxy's."""

    side: str
    workload: str
    least: float = 0.0
    most: float = 0.0


NOISE = 0.99
"""A ratio that counts as no difference: on a real machine, time varies by more than 1 %."""

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

# SPDX-License-Identifier: MIT
"""An injector's settings and counters as text, JSON and Prometheus metrics."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from ..drops import COMMON_HINTS
from ..wire.address import show
from .injector import Injector
from .structs import Selection

HINTS = {
    **COMMON_HINTS,
    "untracked": "packets to a --backend that conntrack does not track (notrack in a rule?)",
    "one_armed": "SYNs and datagrams of clients behind the servers' device: see --one-armed",
    "no_syn": "connections that are older than the program: clients must connect again",
    "flow_limit": "the table is full: detach, and attach with a larger --max-flows",
    "fragment": "fragments of a connection whose header has not arrived: TCP sends them again; or "
    "of UDP datagrams: the sender has to send smaller ones",
    "no_key": "there is no key to sign with: attach again with --auth-key-file",
    "build": "a packet could not be changed, for lack of memory; or a UDP datagram has more than "
    "16 KB with its header",
    "unloading": "SYNs during a detach; if the program is still attached, attach it again",
}
"""What each `drop_` counter means, or what to do about it."""

_METRICS = (
    ("flows", "gauge", "Open connections in the table."),
    ("entries", "gauge", "Entries of the table, ended connections included."),
    ("max_flows", "gauge", "Size of the table."),
    ("headers_total", "counter", "Connections that a header was sent for."),
    ("headers_again_total", "counter", "Headers sent again."),
    ("datagrams_total", "counter", "Datagrams that got a header."),
    ("dropped_total", "counter", "Dropped packets, by reason."),
    ("events_total", "counter", "Other counters, by kind: see docs/ebpf.md."),
)

_EVENTS = (
    "untouched",
    "existing",
    "options_cleared",
    "swallowed",
    "cookies_spoiled",
    "icmp_corrected",
)


@dataclass(frozen=True)
class Status:
    """Settings and counters of the program on one device."""

    device: str
    attached: bool
    selection: str = ""
    backends: list[str] = field(default_factory=list)
    udp_ports: list[int] = field(default_factory=list)
    key_id: int | None = None
    one_armed: bool = False
    pass_existing: bool = False
    max_flows: int = 0
    counters: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, injector: Injector) -> Status:
        """Read them. InjectorError when nothing is attached."""
        settings = injector.settings()
        selection = settings.selection.name.lower()
        if settings.selection is Selection.MARK:
            selection = f"mark {settings.mark:#x}/{settings.mask:#x}"
        return cls(
            injector.device.name,
            injector.attached,
            selection,
            [show(*address) for address in injector.backends()],
            injector.udp_ports(),
            injector.key_id() if settings.signed else None,
            settings.one_armed,
            settings.pass_existing,
            injector.max_flows(),
            injector.counters(),
        )

    @property
    def drops(self) -> dict[str, int]:
        """The `drop_` counters that are not zero, by reason."""
        dropped = {name: n for name, n in self.counters.items() if name.startswith("drop_") and n}
        return {name.removeprefix("drop_"): number for name, number in dropped.items()}

    def text(self) -> str:
        """Lines for people, with a hint for each reason that packets were dropped for."""
        c = self.counters
        signed = "unsigned" if self.key_id is None else f"signed with key {self.key_id}"
        state = "attached" if self.attached else "NOT ATTACHED: attach it again"
        lines = [
            f"{self.device}: {state}, {self.selection}, headers {signed}",
            *(f"  server {backend}" for backend in self.backends),
            f"  {c['flows']} flows, {c['entries']} of {self.max_flows} entries, "
            f"{c['ctproxy_headers']} headers, "
            f"{c['ctproxy_headers_again']} sent again",
        ]
        if self.udp_ports:
            ports = ", ".join(map(str, self.udp_ports))
            lines.append(f"  udp to port {ports}: {c['udp_ctproxy']} datagrams")
        for name, number in c.items():
            if number and name in _EVENTS:
                lines.append(f"  {name} {number}")
        for name, number in self.drops.items():
            lines.append(f"  drop_{name} {number}: {HINTS[name]}")
        return "\n".join(lines)


def as_json(statuses: list[Status]) -> str:
    """A JSON list with one object per device."""
    return json.dumps([asdict(status) for status in statuses], indent=2)


def as_prometheus(statuses: list[Status]) -> str:
    """Prometheus' text format, version 0.0.4."""
    samples: dict[str, list[str]] = {name: [] for name, _, _ in _METRICS}
    for status in statuses:
        device, c = f'device="{status.device}"', status.counters
        samples["flows"].append(f"{{{device}}} {c['flows']}")
        samples["entries"].append(f"{{{device}}} {c['entries']}")
        samples["max_flows"].append(f"{{{device}}} {status.max_flows}")
        samples["headers_total"].append(f"{{{device}}} {c['ctproxy_headers']}")
        samples["headers_again_total"].append(f"{{{device}}} {c['ctproxy_headers_again']}")
        samples["datagrams_total"].append(f"{{{device}}} {c['udp_ctproxy']}")
        for name, number in c.items():
            if name.startswith("drop_"):
                reason = name.removeprefix("drop_")
                samples["dropped_total"].append(f'{{{device},reason="{reason}"}} {number}')
            elif name in _EVENTS:
                samples["events_total"].append(f'{{{device},kind="{name}"}} {number}')
    lines = []
    for name, kind, text in _METRICS:
        full = f"ctwsgi_gateway_{name}"
        lines += [f"# HELP {full} {text}", f"# TYPE {full} {kind}"]
        lines += [f"{full}{sample}" for sample in samples[name]]
    return "\n".join(lines) + "\n"

# SPDX-License-Identifier: MIT
"""The cases of `make test`: a few for each injector, together less than a minute in a guest.

They reach each place where an injector hooks into the kernel, each kind of loss that it repairs,
and each format that it writes, once. All other combinations belong to `make test-kernel`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from .case import Case

SMOKE = (
    # Forwarded to another host, with headers of 8 bytes in front of each segment.
    ("matrix", "ctframe/gateway/small/clean/*"),
    ("matrix", "ctframe/gateway/1mb/header-lost/*"),
    ("matrix", "ctframe/gateway/close/loss5/*"),
    # Delivered to the injector's own host, from outside and over `lo`.
    ("matrix", "ctframe/dnat/1mb/loss1/*"),
    ("matrix", "ctframe/redirect/*/clean/*"),
    ("matrix", "ctframe/lo/1mb/clean/*"),
    ("options", "ctframe/gateway/syn-cookies/small/clean"),
    ("ends", "ctframe/gateway/reset/client-at-once"),
    ("udp", "ctframe/gateway/sizes/on"),
    ("udp", "ctframe/gateway/nobody-there"),
    ("attacks", "ctframe/gateway/header-space-after-data-beyond"),
    # One header for each connection, IPv6, signatures.
    ("matrix", "ctproxy/gateway/small/clean/*"),
    ("matrix", "ctproxy/gateway6/1mb/header-lost/*"),
    ("matrix", "ctproxy/gateway6/*/loss5/*"),
    ("matrix", "ctproxy/dnat/1mb/clean/*"),
    ("matrix", "ctproxy/dnat6/server-first/data-lost/*"),
    ("matrix", "ctproxy/redirect/half-close/*"),
    ("matrix", "ctproxy/lo/small/loss1/*"),
    ("ends", "ctproxy/gateway/reset-without-header"),
    ("rules", "ctproxy/gateway/conntrack-flushed"),
    ("life", "ctproxy/gateway/unload/then-flush"),
    ("auth", "ctproxy/gateway6/signed/small/header-lost"),
    ("auth", "ctproxy/gateway/rotation"),
    ("auth", "ctproxy/gateway/signed-datagrams"),
    ("attacks", "ctproxy/gateway/diagonal-after-loss"),
    ("attacks", "ctproxy/gateway/signed/header-space-after-synack"),
    # The same headers, from the eBPF program.
    ("matrix", "ebpf/gateway/server-first/header-lost/*"),
    ("matrix", "ebpf/gateway/1mb/duplicate/*"),
    ("matrix", "ebpf/gateway6/close/loss5/*"),
    ("ends", "ebpf/gateway/reset-without-header"),
    ("udp", "ebpf/gateway/sizes/on"),
    ("auth", "ebpf/gateway/signed/small/header-lost"),
    ("auth", "ebpf/gateway6/signed-datagrams"),
    ("options", "ebpf/gateway6/syn-cookies/small/clean"),
    ("attacks", "ebpf/gateway/diagonal-after-loss"),
)
"""(suite, pattern of a case's name). Where several cases match, the first one is run."""


def chosen(cases: Iterable[Case]) -> Iterator[Case]:
    """The smoke run's part of `cases`, which are all that the other options leave."""
    listed = list(cases)
    for suite, pattern in SMOKE:
        matching = (c for c in listed if c.suite == suite and fnmatchcase(c.name, pattern))
        yield from list(matching)[:1]

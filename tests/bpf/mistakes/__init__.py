# SPDX-License-Identifier: MIT
"""Deliberate mistakes in the eBPF program: N.patch makes mistake N in a copy of kmod/bpf.

    python -m tests.bpf.mistakes [--mistake N]... [--all]

builds each and expects that a case of `python -m tests.bpf` fails.
"""

from __future__ import annotations

from pathlib import Path

from tests import ROOT

PATCHES = Path(__file__).parent
SOURCE = ROOT / "kmod" / "bpf"

CASES = {
    1: "gateway/syn-cookies/small/header-lost",
    2: "gateway/no-syn",
    3: "gateway/syns-*",
    4: "gateway/ended-*",
    5: "gateway/honest-*",
    6: "gateway/rejected/*",
    7: "gateway/other-kind-*",
    8: "gateway/other-kind-*",
    9: "gateway/syns-*",
    10: "gateway6/signed/*",
    11: "gateway/checksums-completed",
    12: "gateway/datagram-checksums-completed",
    13: "gateway/signed-datagrams-without-offloads",
    14: "gateway/several-in-one",
}
"""For each mistake, the cases of `python -m tests.bpf` of which at least one must fail."""

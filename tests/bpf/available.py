# SPDX-License-Identifier: MIT
"""Whether these tests can run here; why not, in one line."""

from __future__ import annotations

from tests.lab import unavailable as no_lab
from tests.lab.ebpf import why_no_ebpf


def unavailable() -> str | None:
    """None where they can."""
    return why_no_ebpf() or no_lab()

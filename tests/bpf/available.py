# SPDX-License-Identifier: MIT
"""Whether this machine can run the tests of this folder."""

from __future__ import annotations

from tests.lab import unavailable as no_lab
from tests.lab.ebpf import why_no_ebpf


def unavailable() -> str | None:
    """Why not, in one line; None when it can."""
    return why_no_ebpf() or no_lab()

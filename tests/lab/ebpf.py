# SPDX-License-Identifier: MIT
"""Says in one line why the eBPF injector cannot be attached here, if it cannot."""

from __future__ import annotations

import os

from ctwsgi.ebpf.errors import InjectorError
from ctwsgi.ebpf.host import require_bpffs, require_kernel, require_object, require_rights


def why_no_ebpf() -> str | None:
    """None where it can be attached."""
    if os.geteuid():
        return "only root can attach it"
    try:
        require_object()
        require_rights()
        require_kernel()
        require_bpffs()
    except InjectorError as e:
        return str(e)
    return None

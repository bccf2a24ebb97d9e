# SPDX-License-Identifier: MIT
"""What a lab gives to all of its hosts, so that a host need not import the lab."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .process import Process
from .topology import Topology


@dataclass(frozen=True)
class Shared:
    """Filled by the lab."""

    topology: Topology
    environ: Mapping[str, str]
    """The environment of the commands on the hosts."""
    enter: Callable[[str], list[str]]
    """The prefix of a command that enters the network namespace of the host with this name."""
    adopt: Callable[[Process], Process]
    """Has the lab stop the process when the lab ends."""

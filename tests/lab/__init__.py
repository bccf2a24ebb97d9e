# SPDX-License-Identifier: MIT
"""The lab: hosts made of network namespaces, with real wires, rules and connections.

`Lab` builds one from a `Topology`; `rules` has the packet filter's tables; docs/lab.md shows how to
use it in a test and by hand, and what it needs. `Lab` itself needs no Python package but ctwsgi.
"""

from .lab import Lab, living_in
from .node import Node
from .process import Process
from .requirements import LabError, unavailable
from .topology import (
    CLIENT_GATEWAY_SERVER,
    NOWHERE,
    Host,
    Topology,
    Wire,
    draw_destination,
    show,
)
from .wait import until

__all__ = [
    "CLIENT_GATEWAY_SERVER",
    "NOWHERE",
    "Host",
    "Lab",
    "LabError",
    "Node",
    "Process",
    "Topology",
    "Wire",
    "draw_destination",
    "living_in",
    "show",
    "unavailable",
    "until",
]

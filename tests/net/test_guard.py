# SPDX-License-Identifier: MIT
"""The printed guard also stops packets that conntrack does not follow.

tests/lab/refusals.py dials past the guard with an ordinary SYN. The packets here have no connection
in conntrack, and so no status that a rule could compare.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import sys
from collections.abc import Iterator

import pytest

from ctwsgi.ebpf.rules import Setup, ruleset
from ctwsgi.guard import local_guard
from tests.lab import Lab, unavailable, until
from tests.lab.node import Node

pytestmark = [
    pytest.mark.skipif(bool(unavailable()), reason=str(unavailable())),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root has raw sockets"),
]

PORT = 8080
LOOSE = "net.netfilter.nf_conntrack_tcp_loose"

_SEND = """
import socket, sys
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
raw.sendto(bytes.fromhex(sys.argv[1]), (sys.argv[2], 0))
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


def test_at_the_server(lab: Lab) -> None:
    stops_what_conntrack_does_not_follow(lab, lab.server, local_guard(PORT))


def test_at_the_gateway(lab: Lab) -> None:
    setup = Setup("server", ((lab.server.address(), PORT),), (80,))
    stops_what_conntrack_does_not_follow(lab, lab.gateway, ruleset(setup))


def stops_what_conntrack_does_not_follow(lab: Lab, node: Node, rules: str) -> None:
    node.sysctl({LOOSE: 0})
    send_ack(lab)
    until(lambda: resets(lab) == 1, "the answer of a server without a guard")
    node.nft(counting(rules))
    send_ack(lab)
    until(lambda: "packets 1 " in node.run(["nft", "list", "ruleset"]).stdout, "a drop")
    assert resets(lab) == 1
    untracked = "table ip raw {\n chain pre {\n type filter hook prerouting priority raw;\n"
    node.nft(f"{untracked} tcp dport {PORT} notrack\n }}\n}}")
    send_ack(lab)
    until(lambda: "packets 2 " in node.run(["nft", "list", "ruleset"]).stdout, "another drop")
    assert resets(lab) == 1


def counting(rules: str) -> str:
    return re.sub(r" drop$", " counter drop", rules, flags=re.MULTILINE)


def send_ack(lab: Lab) -> None:
    """Sends an ACK without a connection, like one that brings a SYN cookie."""
    client, server = lab.client.address(), lab.server.address()
    fields = [3333, PORT, 1000, 2000, 5 << 4, 0x10, 1000, 0, 0]
    pseudo = socket.inet_aton(client) + socket.inet_aton(server) + struct.pack("!HH", 6, 20)
    words = struct.unpack("!16H", pseudo + struct.pack("!HHIIBBHHH", *fields))
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    fields[7] = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    segment = struct.pack("!HHIIBBHHH", *fields)
    lab.client.run([sys.executable, "-c", _SEND, segment.hex(), server])


def resets(lab: Lab) -> int:
    """How many RSTs the server has sent (OutRsts), which is its answer to such an ACK."""
    lines = lab.server.run(["cat", "/proc/net/snmp"]).stdout.splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(values[names.index("OutRsts")])

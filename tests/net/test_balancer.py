# SPDX-License-Identifier: MIT
"""A layer-4 balancer between injector and servers: each server still learns the origin.

    client --- gateway --- balancer --- one
               REDIRECT,   nft or   `-- two
               relay       IPVS

The header is in the stream, so a balancer that only rewrites addresses passes it on. nft balances
on every machine. IPVS needs a kernel that has it; tests/kernel/test_skipped_elsewhere.py runs it in
a guest.
"""

from __future__ import annotations

import json
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests import ROOT
from tests.lab import Lab, draw_destination, unavailable
from tests.lab.requirements import LabError
from tests.lab.rules import redirect
from tests.lab.topology import Host, Topology, Wire, show
from tests.lab.wait import DEADLINE

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))

RELAY, SERVICE = 9000, 8000
SERVERS = ("one", "two")
VISITS = 6

TOPOLOGY = Topology(
    hosts=(
        Host("client", default="gateway"),
        Host("gateway", forwards=True, default="balancer"),
        Host("balancer", forwards=True, default="gateway"),
        *(Host(name, default="balancer") for name in SERVERS),
    ),
    wires=(
        Wire("client", "gateway"),
        Wire("gateway", "balancer"),
        *(Wire("balancer", name) for name in SERVERS),
    ),
)


def balance_by_nft(lab: Lab, virtual: str) -> None:
    """Sends the connections to the virtual address to the servers in turn."""
    one, two = (getattr(lab, name).address() for name in SERVERS)
    lab.balancer.nft(f"""
table ip balance {{
  chain pre {{
    type nat hook prerouting priority dstnat;
    ip daddr {virtual} tcp dport {SERVICE} dnat to numgen inc mod 2 map {{ 0 : {one}, 1 : {two} }}
  }}
}}
""")


def balance_by_ipvs(lab: Lab, virtual: str) -> None:
    """The same by IPVS: round robin, and masquerading, its word for DNAT."""
    if not shutil.which("ipvsadm"):
        pytest.skip("no ipvsadm: apt-get install ipvsadm")
    try:
        lab.balancer.run(["ipvsadm", "-A", "-t", f"{virtual}:{SERVICE}", "-s", "rr"])
    except LabError as e:
        pytest.skip(f"no IPVS in this kernel: {e}")
    for name in SERVERS:
        real = f"{getattr(lab, name).address()}:{SERVICE}"
        lab.balancer.run(["ipvsadm", "-a", "-t", f"{virtual}:{SERVICE}", "-r", real, "-m"])


@pytest.fixture(params=[balance_by_nft, balance_by_ipvs], ids=["nft", "ipvs"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """With balancer, relay and servers, which trust the relay's host and demand its signature."""
    with Lab(TOPOLOGY) as lab, ExitStack() as standing:
        virtual = lab.balancer.address(peer="gateway")
        request.param(lab, virtual)
        key = lab.scratch / "key"
        key.write_text(f"1 {secrets.token_hex(32)}\n")
        key.chmod(0o600)
        ctwsgi = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "ctwsgi"]
        trusted = lab.gateway.address(peer="balancer")
        started = []
        for name in SERVERS:
            node = getattr(lab, name)
            bind = f"{node.address()}:{SERVICE}"
            options = ["--source", "proxy", "--trust", trusted, "--auth-key-file", str(key)]
            command = [*ctwsgi, "serve", "--bind", bind, *options, "tests.lab.greeting:app"]
            started.append((node.popen(command), SERVICE))
        relay = ["--upstream", f"{virtual}:{SERVICE}", "--format", "proxy"]
        listens = ["--listen", f"0.0.0.0:{RELAY}", "--listen", f"[::]:{RELAY}"]
        command = [*ctwsgi, "relay", *listens, *relay, "--auth-key-file", str(key)]
        started.append((lab.gateway.popen(command), RELAY))
        for process, port in started:
            process.wait_listening(port)
        standing.enter_context(lab.gateway.rules(redirect(RELAY)))
        yield lab


def connections(lab: Lab, name: str) -> int:
    """How many connections a server has got: the SYNs that left the balancer for it."""
    log = lab.balancer.run(["nft", "-j", "list", "table", "ip", "seen"]).stdout
    rules = [e["rule"] for e in json.loads(log)["nftables"] if "rule" in e]
    address = getattr(lab, name).address()
    (rule,) = (r for r in rules if address in json.dumps(r))
    (packets,) = (e["counter"]["packets"] for e in rule["expr"] if "counter" in e)
    return int(packets)


@pytest.mark.parametrize("version", [4, 6])
def test_both_servers_learn_every_origin(lab: Lab, version: int) -> None:
    lab.balancer.nft(
        "table ip seen {\n chain post {\n type filter hook postrouting priority 300;\n"
        + "".join(
            f"ip daddr {getattr(lab, name).address()} tcp flags & (syn | ack) == syn counter\n"
            for name in SERVERS
        )
        + "}\n}\n"
    )
    for _ in range(VISITS):
        destination = draw_destination(version)
        answer = lab.client.run([
            "curl", "-gsS", "--noproxy", "*", "--max-time", str(DEADLINE),
            "-H", "Accept: application/json", f"http://{show(destination)}/",
        ]).stdout  # fmt: skip
        told = json.loads(answer)
        assert told["orig_dst"] == list(destination)
        assert told["orig_src"][0] == lab.client.address(version)
        assert told["verified"] is True
    assert [connections(lab, name) for name in SERVERS] == [VISITS // 2, VISITS // 2]

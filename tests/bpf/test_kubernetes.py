# SPDX-License-Identifier: MIT
"""The program on the nodes of a cluster: pods learn the client that kube-proxy's SNAT hides."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests import ROOT
from tests.lab import until

from .available import unavailable
from .cluster import CLUSTER_IP, EXTERNAL_IP, MARK, NODES, PODS, SERVERS, Cluster, Visit

LACKING = [tool for tool in ("nginx", "iptables-nft-restore") if not shutil.which(tool)]
pytestmark = [
    pytest.mark.skipif(bool(unavailable()), reason=str(unavailable())),
    pytest.mark.skipif(bool(LACKING), reason="apt-get install nginx iptables"),
]

VERSIONS = (4, 6)


def selection() -> str:
    """The rules of the manual, with this cluster's ports and pods."""
    page = (ROOT / "docs/kubernetes.md").read_text()
    found = re.search(r"^```nft\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert found
    assert f"--mark {MARK} " in page
    rules: str = found[1]
    defined = {
        "PODS4": PODS[4],
        "PODS6": PODS[6],
        "PORTS": "{ 80, 81 }",
        "NODE_PORTS": "{ 30080, 30081 }",
    }
    for name, value in defined.items():
        line = rf"^define {name} = .*$"
        rules, count = re.subn(line, f"define {name} = {value}", rules, flags=re.MULTILINE)
        assert count == 1, name
    return rules


def shape(mode: str, bridge: bool, vxlan: bool, *marks: pytest.MarkDecorator) -> Any:
    name = f"{mode}-{'bridge' if bridge else 'veth'}-{'vxlan' if vxlan else 'routed'}"
    return pytest.param((mode, bridge, vxlan), id=name, marks=marks)


@pytest.fixture(
    params=[
        shape("iptables", True, False),
        shape("nftables", False, True),
        shape("iptables", False, True, pytest.mark.full),
        shape("nftables", True, False, pytest.mark.full),
    ]
)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    mode, bridge, vxlan = request.param
    with Cluster(mode, bridge=bridge, vxlan=vxlan) as cluster:
        cluster.attach(selection())
        yield cluster


def check(cluster: Cluster, name: str, source: str, dialled: tuple[str, int], visit: Visit) -> None:
    address = cluster.node(source).address(6 if ":" in dialled[0] else 4)
    assert visit.knows["src"] == [address, visit.client_port]
    assert visit.knows["dst"] == list(dialled)
    if name == "ctwsgi":
        assert visit.knows["verified"] is True
    else:
        # kube-proxy has hidden the client, or the case would show nothing.
        assert visit.knows["peer"] != address


def ask_both_pods(cluster: Cluster, name: str, source: str, dialled: tuple[str, int]) -> None:
    """Dial until both pods have answered: the rules draw one for each connection."""
    answered = set()

    def both() -> bool:
        visit = cluster.visit(source, dialled)
        check(cluster, name, source, dialled, visit)
        answered.add(visit.knows["pod"])
        return answered == set(NODES.values())

    until(both, f"answers of both pods to {dialled}")


def test_the_client_behind_kube_proxy(cluster: Cluster) -> None:
    """Both pods, and both servers in them, know the client and the address that it dialled.

    The client dials a balancer's address and the port of a node. Processes of a node dial the
    service's own address.
    """
    for version in VERSIONS:
        for name, server in SERVERS.items():
            node_port = cluster.node("node2").address(version), server.node_port
            for dialled in ((EXTERNAL_IP[version], server.port), node_port):
                ask_both_pods(cluster, name, "client", dialled)
        own = CLUSTER_IP[version], SERVERS["ctwsgi"].port
        ask_both_pods(cluster, "ctwsgi", "node1", own)
    for node in NODES:
        counters = cluster.counters(node)
        assert all(each["ctproxy_headers"] for each in counters), counters
        assert not [name for each in counters for name in each if name.startswith("drop_")]

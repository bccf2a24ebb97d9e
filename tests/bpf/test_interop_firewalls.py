# SPDX-License-Identifier: MIT
"""The program with ufw, firewalld and Docker's rules: headers are true, also during a reload."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from ctwsgi.wire.header import Header
from tests.lab import LabError
from tests.lab.firewalls import FIREWALLS, Firewall

from .available import unavailable
from .gateway import DEVICE, Gateway, read_header

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))

DIALLED, PORT = 80, 8080
VERSIONS = (4, 6)


@pytest.fixture(params=FIREWALLS)
def firewall(request: pytest.FixtureRequest, gateway: Gateway) -> Firewall:
    kind = FIREWALLS[request.param]
    if lacks := kind.unavailable():
        pytest.skip(lacks)
    return kind(gateway.lab, gateway.lab.gateway)


def servers(gateway: Gateway) -> dict[int, tuple[str, int]]:
    return {version: (gateway.lab.server.address(version), PORT) for version in VERSIONS}


@contextmanager
def listening(gateway: Gateway) -> Iterator[dict[int, socket.socket]]:
    """Listeners on the server by IP version, without rules that translate to them."""
    server = gateway.lab.server
    with server.listen("0.0.0.0", PORT) as v4, server.socket(socket.AF_INET6) as v6:
        v6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        v6.settimeout(20)
        v6.bind(("::", PORT))
        v6.listen()
        yield {4: v4, 6: v6}


def outlives_a_reload(gateway: Gateway, firewall: Firewall) -> None:
    """Before, during and after a reload headers are true; an open connection stays open."""
    with listening(gateway) as listeners, gateway.lab.client.connect(("198.18.0.7", 80)) as old:
        accepted, _ = listeners[4].accept()
        with accepted, ThreadPoolExecutor() as pool:
            assert read_header(accepted)[0].dst == ("198.18.0.7", 80)
            for version in VERSIONS:
                gateway.visit(listeners[version], version, port=DIALLED)
            reload = pool.submit(firewall.reload)
            # During a reload a SYN may be dropped; the client sends it again.
            during: list[Header] = []
            while not reload.done():
                during.append(gateway.visit(listeners[4], port=DIALLED))
            reload.result()
            assert during
            for version in VERSIONS:
                gateway.visit(listeners[version], version, port=DIALLED)
            old.sendall(b"forth")
            assert accepted.recv(100) == b"forth"
            accepted.sendall(b"back")
            assert old.recv(100) == b"back"
    counters = gateway.counters()
    assert counters["ctproxy_headers"] >= 5 + len(during)
    assert not [name for name in counters if name.startswith("drop_")]


def test_beside_our_rules(gateway: Gateway, firewall: Firewall) -> None:
    """Our rules translate, in a table of their own; the firewall lets connections through."""
    for address, port in servers(gateway).values():
        firewall.let_through(address, port)
    firewall.start()
    backends = gateway.backends(PORT)
    gateway.command("attach", DEVICE, *backends)
    options = [option.replace("--backend", "--server") for option in backends]
    rules = gateway.command("rules", DEVICE, *options, "--port", str(DIALLED)).stdout
    gateway.lab.gateway.nft(rules)
    outlives_a_reload(gateway, firewall)
    # The reload has not changed our guard.
    with gateway.lab.server.listen("0.0.0.0", PORT), pytest.raises(TimeoutError):
        gateway.lab.client.connect(servers(gateway)[4], deadline=0.5)


def test_they_translate(gateway: Gateway, firewall: Firewall) -> None:
    """The firewall translates. The program is attached with --backend, without our rules."""
    for to in servers(gateway).values():
        firewall.let_through(*to)
        firewall.translate("client", DIALLED, to)
    firewall.start()
    gateway.command("attach", DEVICE, *gateway.backends(PORT))
    outlives_a_reload(gateway, firewall)


NO_IPTABLES = None if shutil.which("iptables-nft") else "no iptables-nft: apt-get install iptables"

DOCKER = """
iptables-nft -t nat -N DOCKER
iptables-nft -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
iptables-nft -t nat -A POSTROUTING -s 10.77.2.0/24 ! -o docker0 -j MASQUERADE
iptables-nft -t nat -A DOCKER ! -i docker0 -p tcp --dport {dialled} -j DNAT --to-destination {to}
iptables-nft -N DOCKER
iptables-nft -P FORWARD DROP
iptables-nft -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables-nft -A FORWARD -o docker0 -j DOCKER
iptables-nft -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
iptables-nft -A DOCKER -d {address} ! -i docker0 -o docker0 -p tcp --dport {port} -j ACCEPT
"""
"""The rules that `docker run -p 80:8080` makes; the server stands for the container."""


@pytest.mark.skipif(bool(NO_IPTABLES), reason=str(NO_IPTABLES))
def test_dockers_published_port(gateway: Gateway) -> None:
    """The program is on Docker's bridge; clients dial the gateway's own address."""
    lab, node = gateway.lab, gateway.lab.gateway
    address, inward = lab.server.address(), node.address(4, "server")
    try:
        node.ip("link", "add", "docker0", "type", "bridge")
    except LabError as e:
        pytest.skip(f"this kernel has no bridges: {e}")
    node.ip("addr", "flush", "dev", DEVICE)
    node.ip("link", "set", DEVICE, "master", "docker0")
    node.ip("addr", "add", f"{inward}/24", "dev", "docker0")
    node.ip("link", "set", "docker0", "up")
    lab.server.ip("neigh", "flush", "dev", "gateway", "nud", "permanent")
    rules = DOCKER.format(dialled=DIALLED, to=f"{address}:{PORT}", address=address, port=PORT)
    node.run(["sh", "-ec", rules])
    gateway.command("attach", "docker0", "--backend", f"{address}:{PORT}")
    published = node.address(4, "client"), DIALLED
    with lab.server.listen("0.0.0.0", PORT) as listener, lab.client.connect(published) as client:
        accepted, peer = listener.accept()
        with accepted:
            header, _ = read_header(accepted)
            assert (header.dst, header.src) == (published, client.getsockname())
            assert peer == client.getsockname()
            client.sendall(b"forth")
            assert accepted.recv(100) == b"forth"
    gateway.command("detach", "docker0")

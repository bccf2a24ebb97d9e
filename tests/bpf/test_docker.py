# SPDX-License-Identifier: MIT
"""The program on Docker's bridges: containers learn what was dialled of their published ports."""

from __future__ import annotations

import shutil

import pytest

from ctwsgi.wire.auth import KeyRing

from .available import unavailable
from .bridge import CALLS, bridged, pass_through_ip
from .dockerd import Network, Published, install
from .gateway import DEVICE, Gateway, exchange
from .keys import KEYS, key_file

NO_IPTABLES = None if shutil.which("iptables-nft-restore") else "apt-get install iptables"
pytestmark = [
    pytest.mark.skipif(bool(unavailable()), reason=str(unavailable())),
    pytest.mark.skipif(bool(NO_IPTABLES), reason=str(NO_IPTABLES)),
]

PORT = 8080
RING = KeyRing.parse(KEYS[7])
SECOND = {4: "203.0.113.7", 6: "2001:db8:7::7"}
"""More addresses of the host."""

SUBNET = {4: "10.77.2.0/24", 6: "fd77:0:0:2::/64"}

SHAPES = [
    pytest.param("iptables", "docker0", id="iptables-default"),
    pytest.param("nftables", "br-0a1b2c3d4e5f", id="nftables-user-defined"),
    pytest.param("iptables", "br-0a1b2c3d4e5f", id="iptables-user-defined", marks=pytest.mark.full),
    pytest.param("nftables", "docker0", id="nftables-default", marks=pytest.mark.full),
]


def run_container(gateway: Gateway, backend: str, bridge: str, *, proxy: bool = True) -> None:
    """Make the server a container with `-p 80:PORT -p SECOND:81:PORT`, and attach the program."""
    node, server = gateway.lab.gateway, gateway.lab.server
    bridged(node, bridge, DEVICE)
    for version in (4, 6):
        node.ip("addr", "add", f"{SECOND[version]}/{32 if version == 4 else 128}", "dev", "lo")
        published = Published(80, PORT), Published(81, PORT, SECOND[version])
        network = Network(bridge, SUBNET[version], server.address(version), published, proxy)
        install(backend, node, network)
    keys = key_file(gateway.lab.scratch / "keys", KEYS[7])
    backends = gateway.backends(PORT)
    gateway.command("attach", bridge, *backends, "--auth-key-file", str(keys))


@pytest.mark.parametrize(("backend", "bridge"), SHAPES)
def test_published_ports(gateway: Gateway, backend: str, bridge: str) -> None:
    """Each address of the host that was dialled arrives, from outside and from the host itself."""
    run_container(gateway, backend, bridge)
    lab = gateway.lab
    with gateway.listeners(PORT) as listeners:
        for version, listener in listeners.items():
            first = lab.gateway.address(version, "client")
            for client in (lab.client, lab.gateway):
                for dialled in ((first, 80), (SECOND[version], 80), (SECOND[version], 81)):
                    header, peer = exchange(client, dialled, listener, RING)
                    assert (header.src, header.translated) == (peer, None)
            # A specific address is published, the others are not: nobody listens there.
            with pytest.raises(ConnectionRefusedError):
                lab.client.connect((first, 81))
            # Docker's guard.
            with pytest.raises(TimeoutError):
                lab.client.connect((lab.server.address(version), PORT), deadline=0.5)
        # The userland proxy dials the container, as any process of the host may.
        with lab.gateway.connect((lab.server.address(), PORT)) as direct:
            direct.sendall(b"no header")
            accepted, _ = listeners[4].accept()
            with accepted:
                assert accepted.recv(100) == b"no header"
    gateway.command("detach", bridge)


@pytest.mark.parametrize(
    ("backend", "calls"),
    [
        pytest.param("iptables", 1, id="iptables-filtered"),
        pytest.param("nftables", 0, id="nftables-not-filtered"),
        pytest.param("nftables", 1, id="nftables-filtered", marks=pytest.mark.full),
        pytest.param("iptables", 0, id="iptables-not-filtered", marks=pytest.mark.full),
    ],
)
def test_without_userland_proxy(gateway: Gateway, backend: str, calls: int) -> None:
    """The host's own connections, also to 127.0.0.1, are masqueraded; then all are by a rule."""
    lab, bridge = gateway.lab, "docker0"
    if not CALLS.exists():
        pytest.skip("no br_netfilter: modprobe br_netfilter")
    run_container(gateway, backend, bridge, proxy=False)
    pass_through_ip(lab.gateway, calls)
    lab.gateway.sysctl({f"net.ipv4.conf.{bridge}.route_localnet": 1})
    with gateway.listeners(PORT) as listeners:
        visits = [(lab.gateway, ("127.0.0.1", 80)), (lab.gateway, (SECOND[6], 80))]
        for client, dialled in visits:
            listener = listeners[6 if ":" in dialled[0] else 4]
            header, peer = exchange(client, dialled, listener, RING)
            assert header.translated == peer != header.src
        lab.gateway.nft(
            "table inet hidden {\nchain post {\ntype nat hook postrouting priority srcnat + 1;\n"
            f'oifname "{bridge}" masquerade\n}}\n}}\n'
        )
        for version, listener in listeners.items():
            header, peer = exchange(lab.client, (SECOND[version], 81), listener, RING)
            assert header.translated == peer
            assert peer[0] == lab.gateway.address(version, "server")
    gateway.command("detach", bridge)

# SPDX-License-Identifier: MIT
"""`ctwsgi gateway --udp`: which datagrams get a header, and what its commands say of them.

The suite `udp` of tests/kernel/guest has the datagrams themselves.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ctwsgi.wire import proxy
from tests.lab import draw_destination, until

from .available import unavailable
from .gateway import DEVICE, Gateway

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))

PORT, OTHER = 5353, 5354
DIALLED = 53


@contextmanager
def receiving(gateway: Gateway, version: int, port: int = PORT) -> Iterator[socket.socket]:
    """A socket of the server's."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with gateway.lab.server.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(20)
        sock.bind((gateway.lab.server.address(version), port))
        yield sock


@contextmanager
def sending(gateway: Gateway, address: tuple[str, int]) -> Iterator[socket.socket]:
    """A client's socket that is connected to an address."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with gateway.lab.client.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        yield sock


def translate(gateway: Gateway, port: int = PORT, dialled: int = DIALLED) -> None:
    """Loads the rules that `ctwsgi gateway rules` prints for TCP and UDP."""
    servers = [word for word in gateway.backends(port) if word != "--backend"]
    words = [word for server in servers for word in ("--server", server)]
    words += ["--port", str(dialled), "--udp", str(port)]
    gateway.lab.gateway.nft(gateway.command("rules", DEVICE, *words).stdout)


@pytest.mark.parametrize("version", [4, 6])
def test_the_rules_that_are_printed(gateway: Gateway, version: int) -> None:
    """Datagrams arrive with their header, and nobody dials the server past the translation."""
    gateway.command("attach", DEVICE, *gateway.backends(PORT), "--udp", str(PORT))
    translate(gateway)
    destination = draw_destination(version)[0], DIALLED
    own = gateway.lab.server.address(version), PORT
    with (
        receiving(gateway, version) as server,
        sending(gateway, own) as direct,
        sending(gateway, destination) as client,
    ):
        direct.send(b"forged")
        client.send(b"payload")
        header, payload = proxy.decode_datagram(server.recv(2000))
        told = (header.src, header.dst, payload)
        assert told == (client.getsockname()[:2], destination, b"payload")
    assert gateway.counters() == {"udp_ctproxy": 1}
    assert f"  udp to port {PORT}: 1 datagrams\n" in gateway.command("status", DEVICE).stdout
    metrics = gateway.command("status", DEVICE, "--prometheus").stdout
    assert f'ctwsgi_gateway_datagrams_total{{device="{DEVICE}"}} 1\n' in metrics
    assert gateway.status()["udp_ports"] == [PORT]


def test_other_ports_pass_as_they_are(gateway: Gateway) -> None:
    gateway.command("attach", DEVICE, "--udp", str(PORT))
    translate(gateway, OTHER)
    destination = draw_destination(4)[0], DIALLED
    with receiving(gateway, 4, OTHER) as server, sending(gateway, destination) as client:
        client.send(b"payload")
        assert server.recv(2000) == b"payload"
    assert gateway.counters() == {}


def test_other_servers_pass_as_they_are(gateway: Gateway) -> None:
    """With --backend only its datagrams get a header."""
    gateway.command("attach", DEVICE, "--backend", f"10.99.0.1:{PORT}", "--udp", str(PORT))
    translate(gateway)
    destination = draw_destination(4)[0], DIALLED
    with receiving(gateway, 4) as server, sending(gateway, destination) as client:
        client.send(b"payload")
        assert server.recv(2000) == b"payload"
    assert gateway.counters() == {}


def test_a_port_that_no_server_has_is_refused(gateway: Gateway) -> None:
    words = ("attach", DEVICE, *gateway.backends(PORT), "--udp", "53")
    refused = gateway.command(*words, check=False)
    assert refused.returncode == 2
    assert f"--udp 53: no server has this port; they have {PORT}" in refused.stderr


def test_untracked_datagrams_to_a_server_are_dropped(gateway: Gateway) -> None:
    gateway.command("attach", DEVICE, *gateway.backends(PORT), "--udp", str(PORT))
    gateway.lab.gateway.nft(
        "table ip raw {\n chain pre {\n type filter hook prerouting priority raw;\n"
        f" udp dport {PORT} notrack\n }}\n}}\n"
    )
    with sending(gateway, (gateway.lab.server.address(), PORT)) as client:
        client.send(b"payload")
        until(lambda: gateway.counters() == {"drop_untracked": 1}, "it is dropped and counted")


def test_datagrams_of_the_servers_own_network_are_dropped(gateway: Gateway) -> None:
    """Who is there can dial the server past the gateway, and write a header of his own."""
    lab = gateway.lab
    gateway.command("attach", DEVICE, "--udp", str(PORT))
    lab.gateway.nft(
        "table ip translate {\n chain pre {\n type nat hook prerouting priority dstnat;\n"
        f" udp dport {DIALLED} dnat to {lab.server.address()}:{PORT}\n }}\n}}\n"
    )
    lab.gateway.run(["sysctl", "-qw", f"net.ipv4.conf.{DEVICE}.send_redirects=0"])
    lab.server.ip("addr", "add", "10.77.2.9/24", "dev", "gateway")
    lab.server.ip("route", "add", "198.18.0.0/15", "via", lab.gateway.address(4, "server"))
    with lab.server.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("10.77.2.9", 0))
        sock.sendto(b"payload", (draw_destination(4)[0], DIALLED))
        until(lambda: gateway.counters() == {"drop_one_armed": 1}, "it is dropped and counted")


def test_ports_are_those_of_the_latest_attach(gateway: Gateway) -> None:
    gateway.command("attach", DEVICE, "--udp", str(PORT), "--udp", str(OTHER))
    gateway.command("attach", DEVICE, "--udp", str(OTHER))
    assert gateway.status()["udp_ports"] == [OTHER]
    gateway.command("attach", DEVICE)
    assert gateway.status()["udp_ports"] == []

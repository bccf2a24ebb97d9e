# SPDX-License-Identifier: MIT
"""The program with ufw and firewalld: headers are true, also during a reload."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from ctwsgi.wire.header import Header
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


def outlives_a_reload(gateway: Gateway, firewall: Firewall) -> None:
    """Before, during and after a reload headers are true; an open connection stays open."""
    with (
        gateway.listeners(PORT) as listeners,
        gateway.lab.client.connect(("198.18.0.7", 80)) as old,
    ):
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

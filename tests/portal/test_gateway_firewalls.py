# SPDX-License-Identifier: MIT
"""The portal's table beside Debian's own ufw and firewalld, over their reload.

They let the clients' traffic through and the portal's ports in, as demo_app/docs/gateway.md says;
who is let through of these is ours to say.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Lab
from tests.lab.firewalls import FIREWALLS, Firewall
from tests.lab.portal import INTERNET, OWN, REDIRECTED, PortalLab
from tests.lab.portal_demo import Walk
from tests.lab.requirements import unavailable

from .gateway import passes

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture(params=FIREWALLS)
def firewall(request: pytest.FixtureRequest, lab: Lab) -> Firewall:
    kind = FIREWALLS[request.param]
    if lacks := kind.unavailable():
        pytest.skip(lacks)
    firewall = kind(lab, lab.gateway)
    firewall.route("client", "server")
    firewall.accept("client", REDIRECTED, OWN)
    firewall.start()
    return firewall


def test_a_guest_beside_it(lab: Lab, firewall: Firewall) -> None:
    """The whole walk; a session and its connection outlive a reload between its steps."""
    portal = PortalLab(lab)
    portal.start()
    *before, log_out = (step for _, step in Walk(portal).steps())
    for step in before:
        step()
    # A grant of ours opens nothing that theirs keeps shut: here this host's other ports.
    with lab.gateway.listen("0.0.0.0", 8099), pytest.raises(OSError, match=_SHUT):
        lab.client.connect((lab.gateway.address(4, "client"), 8099), deadline=0.5)
    with lab.client.connect((INTERNET[4], 443)) as sock:
        firewall.reload()
        for version in (4, 6):
            assert passes(lab.client, version)
        sock.sendall(b"as before")
        assert sock.recv(100) == b"as before"
        log_out()
        # Ours takes away what theirs lets through, established or not.
        sock.sendall(b"no more")
        with pytest.raises(ConnectionResetError):
            sock.recv(100)
    for version in (4, 6):
        assert not passes(lab.client, version)
    portal.agent.stop()
    lab.gateway.run(portal.command("agent", "--remove"))
    assert passes(lab.client)


_SHUT = r"timed out|No route to host"
"""A drop of ufw's, an ICMP error of firewalld's."""

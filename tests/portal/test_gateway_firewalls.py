# SPDX-License-Identifier: MIT
"""The portal's table beside Debian's own ufw and firewalld, before and after their reload.

They forward the clients' traffic and accept the portal's ports, as demo_app/docs/gateway.md says.
The portal's table decides which clients pass.
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


@pytest.fixture(
    params=[
        pytest.param(name, marks=() if name == "ufw" else (pytest.mark.full,)) for name in FIREWALLS
    ]
)
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
    """The whole walk. A session and its connection survive a reload between the steps."""
    portal = PortalLab(lab)
    portal.start()
    *before, log_out = (step for _, step in Walk(portal).steps())
    for step in before:
        step()
    # A grant does not open what the firewall blocks, here the other ports of this host.
    with lab.gateway.listen("0.0.0.0", 8099), pytest.raises(OSError, match=_SHUT):
        lab.client.connect((lab.gateway.address(4, "client"), 8099), deadline=0.5)
    with lab.client.connect((INTERNET[4], 443)) as sock:
        firewall.reload()
        for version in (4, 6):
            assert passes(lab.client, version)
        sock.sendall(b"as before")
        assert sock.recv(100) == b"as before"
        log_out()
        # The table rejects what the firewall accepts, established connections as well.
        sock.sendall(b"no more")
        with pytest.raises(ConnectionResetError):
            sock.recv(100)
    for version in (4, 6):
        assert not passes(lab.client, version)
    portal.agent.stop()
    lab.gateway.run(portal.command("agent", "--remove"))
    assert passes(lab.client)


_SHUT = r"timed out|No route to host"
"""ufw drops, firewalld answers with an ICMP error."""

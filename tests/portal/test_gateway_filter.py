# SPDX-License-Identifier: MIT
"""The packet filter and the agent with real clients: which packets pass, and until when."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.lab.portal import INTERNET, ROOT
from tests.lab.requirements import unavailable
from tests.lab.wait import DEADLINE

from .gateway import Gateway, datagram, gateway, in_time, passes

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))


@pytest.fixture(scope="module")
def shared() -> Iterator[Gateway]:
    with gateway() as made:
        yield made


@pytest.fixture
def running(shared: Gateway) -> Gateway:
    """A gateway without grants."""
    for session in shared.store.snapshot().sessions:
        shared.store.end(session.grant.id, "kicked")
    in_time(lambda: not shared.elements("macs"), "an empty filter")
    return shared


@pytest.mark.parametrize("version", [4, 6])
class TestNotGranted:
    def test_tcp_is_reset_at_once(self, running: Gateway, version: int) -> None:
        for port in (443, 7, 22):
            with pytest.raises(ConnectionRefusedError):
                running.client.connect((INTERNET[version], port))

    def test_quic_is_refused_at_once(self, running: Gateway, version: int) -> None:
        assert datagram(running.client, 443, version) == "refused"

    @pytest.mark.parametrize("port", [53, 123])
    def test_names_and_time_are_let_through(
        self, running: Gateway, version: int, port: int
    ) -> None:
        assert datagram(running.client, port, version) == "answered"

    def test_http_comes_to_the_portal(self, running: Gateway, version: int) -> None:
        any_address = "0.0.0.0" if version == 4 else "::"
        with (
            running.gateway.listen(any_address, 8080) as portal,
            running.client.connect((INTERNET[version], 80)) as browser,
        ):
            accepted, peer = portal.accept()
            with accepted:
                assert peer[0] == running.client.address(version)
                accepted.sendall(b"portal")
                assert browser.recv(100) == b"portal"


class TestGranted:
    def test_every_address_of_the_device_passes(self, running: Gateway) -> None:
        running.grant(running.client, 4)
        in_time(lambda: passes(running.client, 4), "passage")
        assert passes(running.client, 6)
        assert passes(running.client, 4, port=7)
        assert datagram(running.client, 443, 6) == "answered"
        assert not passes(running.other, 4)

    def test_http_goes_where_it_was_going(self, running: Gateway) -> None:
        running.grant(running.client, 6)
        in_time(lambda: passes(running.client, 6), "passage")
        for version in (4, 6):
            host = INTERNET[version] if version == 4 else f"[{INTERNET[version]}]"
            page = running.client.run(["curl", "-sS", "-g", f"http://{host}/"]).stdout
            assert page == f"the internet, {INTERNET[version]} port 80\n"

    def test_an_address_that_the_device_takes_later(self, running: Gateway) -> None:
        running.grant(running.client, 4)
        in_time(lambda: passes(running.client, 4), "passage")
        new = "fd77:0:0:1::abcd"
        running.client.ip("addr", "add", f"{new}/64", "dev", "gateway", "nodad")
        try:
            with running.client.socket(10) as sock:
                sock.settimeout(DEADLINE)
                sock.bind((new, 0))
                sock.connect((INTERNET[6], 7))
                sock.sendall(b"hello")
                assert sock.recv(10) == b"hello"
            in_time(
                lambda: (s := running.store.covering("guests", new)) and s.grant.mac,
                "the new address in the store",
            )
            assert new in running.elements("back6")
        finally:
            running.client.ip("addr", "del", f"{new}/64", "dev", "gateway")

    @pytest.mark.parametrize("version", [4, 6])
    def test_a_kick_cuts_what_is_open(self, running: Gateway, version: int) -> None:
        granted = running.grant(running.client, 4)
        in_time(lambda: passes(running.client, version), "passage")
        with running.client.connect((INTERNET[version], 7)) as flow:
            flow.sendall(b"1")
            assert flow.recv(1) == b"1"
            running.store.end(granted.id, "kicked")
            in_time(lambda: not running.elements("macs"), "the end")
            flow.sendall(b"2")
            with pytest.raises(ConnectionResetError):
                flow.recv(1)
        assert not passes(running.client, version)
        # A rejected attempt leaves no flow.
        address = running.client.address(version)
        in_time(lambda: not running.flows(address), "no flow in conntrack")

    @pytest.mark.parametrize("version", [4, 6])
    def test_a_kick_leaves_what_was_redirected(self, running: Gateway, version: int) -> None:
        """A client logs out and asks for a page at once, and must get an answer."""
        with (
            running.gateway.listen("::", 8080) as portal,
            running.client.connect((INTERNET[version], 80)) as early,
        ):
            granted = running.grant(running.client, 4)
            in_time(lambda: passes(running.client, version, 7), "passage")
            running.store.end(granted.id, "kicked")
            address = running.client.address(version)
            in_time(lambda: not running.flows(address), "no flow in conntrack")
            accepted, _ = portal.accept()
            with accepted:
                accepted.sendall(b"the portal")
                assert early.recv(100) == b"the portal"


def test_the_neighbour_table_is_read_whole(shared: Gateway) -> None:
    """It has more entries than one datagram holds, and entries of other interfaces."""
    lines = [
        f"neigh replace fd77:0:0:1::{n:x} lladdr 02:00:00:01:{n >> 8:02x}:{n & 255:02x} nud stale "
        f"dev {'server' if n == 0x2FF else 'client'}"
        for n in range(0x100, 0x300)
    ]
    lines.append("neigh replace fe80::1 lladdr 02:00:00:01:00:01 nud stale dev client")
    shared.gateway.run(["ip", "-batch", "-"], text_in="\n".join(lines) + "\n")
    code = (
        "from ctwsgi_portal.gateway.neighbours import read; t = read(['client', 'other', 'none']);"
        "print(len(t.addresses('02:00:00:01:02:fe')), t.mac('fd77:0:0:1::2fe'), t.mac('fe80::1'),"
        "sum(m.startswith('02:00:00:01:') for _, m in t.pairs()), t.mac('fd77:0:0:1::2ff'))"
    )
    told = shared.gateway.run(["env", f"PYTHONPATH={ROOT}", sys.executable, "-c", code]).stdout
    # 512, without the one at the server's interface.
    assert told == "1 02:00:00:01:02:fe None 511 None\n"

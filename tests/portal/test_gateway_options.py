# SPDX-License-Identifier: MIT
"""The settings of [gateway], tried by real clients."""

from __future__ import annotations

import shutil
import socket
import time

import pytest

from tests.lab.portal import INTERNET
from tests.lab.requirements import unavailable
from tests.lab.wait import DEADLINE

from .gateway import (
    Gateway,
    datagram,
    gateway,
    in_time,
    passes,
)

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))

NO_DNSMASQ = None if shutil.which("dnsmasq") else "no dnsmasq: apt-get install it"


def rules(made: Gateway, *options: str) -> str:
    """The output of `ctwsgi-portal rules`."""
    return made.portal.run("rules", *options)


def test_bypass_and_garden_networks() -> None:
    lines = """
bypass = ["02:00:00:00:02:01"]
garden = ["198.18.7.0/24", "198.18.7.7/32", "2001:db8::7:0/112"]
"""
    with gateway(lines) as made:
        assert passes(made.other)
        assert passes(made.other, 6)
        for version in (4, 6):
            assert passes(made.client, version)
            assert datagram(made.client, 443, version) == "answered"
        with pytest.raises(ConnectionRefusedError):
            made.client.connect(("198.18.8.8", 443))
        made.other.connect(("198.18.8.8", 443)).close()
        page = made.client.run(["curl", "-sS", f"http://{INTERNET[4]}/"]).stdout
        assert page == f"the internet, {INTERNET[4]} port 80\n"


def test_only_the_listed_name_servers() -> None:
    with gateway('resolvers = ["198.18.7.7/32"]') as made:
        assert datagram(made.client, 53, 4) == "answered"
        assert datagram(made.client, 53, 6) == "refused"


NAMES_RATE, NAMES_BURST = 16 * 1024, 80 * 1024
"""Bytes of DNS and NTP that may pass: a second, and at once."""


def test_questions_cannot_carry_a_tunnel() -> None:
    with gateway() as made, made.client.socket(2, 2) as sock:
        sock.connect((INTERNET[4], 53))
        began = time.monotonic()
        came = 0
        for _ in range(40):
            for _ in range(20):
                sock.send(bytes(500))
            came += carried(sock, 0.01)
        came += carried(sock)
        assert 40 * 1024 < came < NAMES_BURST + NAMES_RATE * (time.monotonic() - began)


@pytest.mark.parametrize("port", [53, pytest.param(123, marks=pytest.mark.full)])
def test_answers_cannot_carry_a_tunnel(port: int) -> None:
    """The server answers one question with 400 kB."""
    with (
        gateway() as made,
        made.client.socket(2, 2) as sock,
        made.lab.server.socket(2, 2) as server,
    ):
        server.bind(("198.18.9.9", port))
        server.settimeout(DEADLINE)
        sock.connect(("198.18.9.9", port))
        began = time.monotonic()
        sock.send(b"ping")
        _, peer = server.recvfrom(10)
        came = 0
        for _ in range(40):
            for _ in range(10):
                server.sendto(bytes(1000), peer)
            came += carried(sock, 0.01)
        came += carried(sock)
        assert 40 * 1024 < came < NAMES_BURST + NAMES_RATE * (time.monotonic() - began)


def carried(sock: socket.socket, silence: float = 1.0) -> int:
    """The bytes of datagrams that come until `silence` seconds without one."""
    sock.settimeout(silence)
    count = 0
    try:
        while True:
            count += len(sock.recv(2000))
    except TimeoutError:
        return count


def test_a_rate_for_each_client() -> None:
    with gateway('rate_down = "1MB"') as made:
        made.grant(made.client)
        in_time(lambda: passes(made.client), "passage")
        wanted = 2_000_000
        began = time.monotonic()
        with made.client.connect((INTERNET[4], 19)) as flow:
            flow.sendall(b"%d\n" % wanted)
            while flow.recv(1 << 16):
                pass
        assert time.monotonic() - began > (wanted - 1_100_000) / 1_000_000


def test_a_portal_on_another_machine() -> None:
    lines = 'redirect_to = ["10.77.3.2:8080", "[fd77:0:0:3::2]:8080"]'
    with gateway(lines, url="http://10.77.3.2:8081") as made:
        for version, any_address in ((4, "0.0.0.0"), (6, "::")):
            with (
                made.lab.server.listen(any_address, 8080) as portal,
                made.client.connect(("198.18.9.9" if version == 4 else "2001:db8::9", 80)) as sock,
            ):
                accepted, peer = portal.accept()
                with accepted:
                    assert peer[0] == made.client.address(version)
                    accepted.sendall(b"portal")
                    assert sock.recv(100) == b"portal"
        with made.lab.server.listen("0.0.0.0", 8081), made.client.connect(("10.77.3.2", 8081)):
            pass  # the portal's own pages are reachable
        with made.lab.server.listen("0.0.0.0", 8080):
            # No client may dial the listener that believes the injector, not even a granted one.
            with pytest.raises(ConnectionRefusedError):
                made.client.connect(("10.77.3.2", 8080))
            made.grant(made.client)
            in_time(lambda: passes(made.client), "passage")
            with pytest.raises(ConnectionRefusedError):
                made.client.connect(("10.77.3.2", 8080))


def test_what_rules_prints_is_what_nft_loads() -> None:
    lines = 'rate_up = "1MB"\nnames = ["example.org"]\nhelper = ""'
    with gateway(lines) as made:
        for options in ((), ("--nft",)):
            printed = rules(made, *options)
            made.lab.server.nft(printed)
            made.lab.server.nft(printed)


@pytest.mark.skipif(bool(NO_DNSMASQ), reason=str(NO_DNSMASQ))
def test_names_of_the_garden_by_dnsmasq() -> None:
    api = '[listen.api]\nbind = ["0.0.0.0:8443"]\ncertfile = "/nowhere"'
    with gateway('names = ["garden.example"]', listen=api) as made:
        printed = rules(made, "--dnsmasq")
        assert "dhcp-option=114,https://10.77.1.2:8443/captive-portal/api" in printed
        (made.lab.scratch / "dnsmasq.conf").write_text(printed)
        options = ["--no-daemon", "--no-hosts", "--no-resolv", "--user=root", "--pid-file="]
        upstream = made.lab.server.popen([
            "dnsmasq", *options, "--conf-file=/dev/null", "--port=5300",
            f"--address=/www.garden.example/{INTERNET[4]}",
            f"--address=/www.garden.example/{INTERNET[6]}",
            f"--address=/elsewhere.example/{INTERNET[4]}",
        ])  # fmt: skip
        upstream.wait_log("started")
        resolver = made.gateway.popen([
            "dnsmasq", *options, f"--conf-file={made.lab.scratch}/dnsmasq.conf",
            "--server=10.77.3.2#5300",
        ])  # fmt: skip
        resolver.wait_log("started")
        assert not passes(made.client)
        _ask(made, "elsewhere.example")
        assert not passes(made.client)
        _ask(made, "www.garden.example")
        in_time(lambda: passes(made.client) and passes(made.client, 6), "the garden")


def _ask(made: Gateway, name: str) -> None:
    """Asks the gateway for A and AAAA, and waits for the answers."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    with made.client.socket(2, 2) as sock:
        sock.settimeout(DEADLINE)
        sock.connect((made.gateway.address(4, "client"), 53))
        for kind in (1, 28):
            sock.send(b"\x12\x34\x01\x00\x00\x01" + bytes(6) + labels + bytes([0, 0, kind, 0, 1]))
            sock.recv(512)

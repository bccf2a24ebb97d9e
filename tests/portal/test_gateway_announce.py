# SPDX-License-Identifier: MIT
"""The announcement of the portal's API: the bytes that dnsmasq and radvd send for the printed
lines.

RFC 8910: DHCPv4 option 114, DHCPv6 option 103, router advertisement option 37. The real programs
get the output of `ctwsgi-portal rules`, and a client in the lab asks them.
"""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from functools import cache

import pytest

from tests.lab import Lab
from tests.lab.portal import PortalLab
from tests.lab.requirements import unavailable
from tests.lab.wait import DEADLINE, until

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))

NO_DNSMASQ = None if shutil.which("dnsmasq") else "no dnsmasq: apt-get install it"

URL = "https://10.77.1.2:8443/captive-portal/api"
API = '[listen.api]\nbind = ["0.0.0.0:8443"]\ncertfile = "/nowhere"'
ETH_P_IPV6, ROUTER_ADVERTISEMENT = 0x86DD, 134
COOKIE = b"\x63\x82\x53\x63"
DEVICE = "client"
"""The gateway's interface to the client. Interfaces have the name of their other end."""


@pytest.fixture
def portal() -> Iterator[PortalLab]:
    """A configured portal that does not run: only its lines are needed."""
    with Lab() as lab:
        yield PortalLab(lab, listen=API)


def dnsmasq(portal: PortalLab, *ranges: str) -> None:
    """Starts dnsmasq on the gateway as DHCP server for the clients, with the printed lines."""
    lines = portal.lab.scratch / "dnsmasq.conf"
    lines.write_text(portal.run("rules", "--dnsmasq"))
    process = portal.lab.gateway.popen([
        "dnsmasq", "--no-daemon", "--no-hosts", "--no-resolv", "--user=root", "--pid-file=",
        "--port=0", "--leasefile-ro", f"--interface={DEVICE}", f"--conf-file={lines}",
        *(f"--dhcp-range={each}" for each in ranges),
    ])  # fmt: skip
    process.wait_log(", IP range")


def asked(sock: socket.socket, question: bytes, to: tuple[str, int]) -> bytes:
    """The first answer. It repeats the question, as clients do."""
    sock.settimeout(1)

    def ask() -> bytes:
        sock.sendto(question, to)
        try:
            return sock.recv(4096)
        except TimeoutError:
            return b""

    return until(ask, "an answer")


def options(data: bytes, form: str) -> dict[int, bytes]:
    """The options of a DHCP message. `form` is the format of code and length."""
    found, head = {}, struct.calcsize(form)
    while len(data) >= head and data[0] != 255:
        code, length = struct.unpack_from(form, data)
        found[code] = data[head : head + length]
        data = data[head + length :]
    return found


@pytest.mark.skipif(bool(NO_DNSMASQ), reason=str(NO_DNSMASQ))
def test_the_offer_has_option_114(portal: PortalLab) -> None:
    dnsmasq(portal, "10.77.1.100,10.77.1.120,1h")
    mac = bytes.fromhex("020000000177")
    # BOOTREQUEST over Ethernet, the broadcast flag set (RFC 2131, 2); DISCOVER, asks for 114.
    head = struct.pack("!4B4sHH16x16s192x", 1, 1, 6, 0, b"ctws", 0, 0x8000, mac)
    question = head + COOKIE + bytes([53, 1, 1, 55, 2, 1, 114, 255])
    with portal.lab.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"gateway\0")
        sock.bind(("0.0.0.0", 68))
        answer = asked(sock, question, ("255.255.255.255", 67))
    assert answer[4:8] == b"ctws"
    assert answer[236:240] == COOKIE
    offered = options(answer[240:], "!BB")
    assert offered[53] == b"\x02"  # OFFER
    assert offered[114] == URL.encode()


@pytest.mark.skipif(bool(NO_DNSMASQ), reason=str(NO_DNSMASQ))
def test_the_advertise_has_option_103(portal: PortalLab) -> None:
    dnsmasq(portal, "fd77:0:0:1::100,fd77:0:0:1::1ff,64,1h")
    identity = bytes.fromhex("00030001020000000177")  # DUID-LL
    # SOLICIT: client identifier, IA_NA, elapsed time, the options wanted (RFC 8415, 18.2.1).
    question = b"\x01ctw" + b"".join(
        struct.pack("!HH", code, len(value)) + value
        for code, value in (
            (1, identity),
            (3, bytes(12)),
            (8, bytes(2)),
            (6, struct.pack("!H", 103)),
        )
    )
    with portal.lab.client.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"gateway\0")
        sock.bind(("::", 546))
        answer = asked(sock, question, ("ff02::1:2", 547))
    assert answer[:4] == b"\x02ctw"  # ADVERTISE
    assert options(answer[4:], "!HH")[103] == URL.encode()


@cache
def no_radvd() -> str | None:
    """Why the option cannot be tried here: Debian 12 has radvd 2.19."""
    path = shutil.which("radvd")
    if path is None:
        return "no radvd: apt-get install radvd, 2.20 or newer"
    said = subprocess.run([path, "--version"], stderr=subprocess.STDOUT, stdout=subprocess.PIPE)
    version = said.stdout.decode().split()[1]
    if tuple(map(int, version.split("_")[0].split("."))) < (2, 20):
        return f"radvd {version} cannot send option 37: 2.20 can"
    return None


@pytest.mark.skipif(bool(no_radvd()), reason=str(no_radvd()))
def test_the_router_advertisement_has_option_37(portal: PortalLab) -> None:
    line = next(x for x in portal.run("rules").splitlines() if "AdvCaptivePortalAPI" in x)
    conf = portal.lab.scratch / "radvd.conf"
    setting = line.lstrip("# ")
    often = "MinRtrAdvInterval 3; MaxRtrAdvInterval 4;"
    conf.write_text(f"interface {DEVICE} {{ AdvSendAdvert on; {often} {setting} }};\n")
    with portal.lab.client.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(DEADLINE)
        sock.bind(("gateway", ETH_P_IPV6))
        command = ["radvd", "--nodaemon", "--logmethod=stderr"]
        radvd = portal.lab.gateway.popen([*command, f"--config={conf}", f"--pidfile={conf}.pid"])
        while True:
            try:
                packet = sock.recv(4096)
            except TimeoutError:
                pytest.fail(f"no advertisement: {radvd.log()}")
            # Behind the IPv6 header (40) the advertisement's own (16); RFC 4861, 4.2.
            if packet[6] == socket.IPPROTO_ICMPV6 and packet[40] == ROUTER_ADVERTISEMENT:
                break
    found, rest = {}, packet[56:]
    while rest:
        length = 8 * rest[1]  # in units of eight octets, code and length among them
        found[rest[0]], rest = rest[2:length], rest[length:]
    # Padded with zeros to the unit (RFC 8910, 2.3).
    assert found[37].rstrip(b"\0") == URL.encode()

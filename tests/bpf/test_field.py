# SPDX-License-Identifier: MIT
"""The program in front of nginx and haproxy, on a tun device, and with a reused client port."""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import shutil
import socket
import struct
import threading
import time
from pathlib import Path
from statistics import median

import pytest

from tests.lab import draw_destination
from tests.lab.rules import dnat
from tests.lab.wait import DEADLINE
from tests.namespaces import entered

from .available import unavailable
from .crowd import lose
from .gateway import DEVICE, Gateway
from .nginx import HEAD

FULL = bool(os.environ.get("CTWSGI_TEST_FULL"))

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))


def _reuse(gateway: Gateway, listener: socket.socket, rounds: int) -> list[float]:
    """Open and reset `rounds` connections from one client port. Returns the seconds of each."""
    listener.settimeout(DEADLINE)
    took = []
    address = gateway.lab.client.address()
    path = f"/proc/{gateway.lab.keeper}/root/run/netns/client"
    for number in range(rounds):
        began = time.monotonic()
        with entered(path):
            sock = socket.socket(socket.AF_INET)
        with sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.bind((address, 3000))
            sock.settimeout(DEADLINE)
            sock.connect(("198.18.0.9", 80))
            sock.sendall(b"%d" % number)
            accepted, _ = listener.accept()
            with accepted:
                accepted.settimeout(DEADLINE)
                with contextlib.suppress(ConnectionResetError):
                    accepted.recv(200)
        took.append(time.monotonic() - began)
    return took


def test_a_port_is_used_again_under_loss(gateway: Gateway) -> None:
    """Most connections take hardly longer with the program, and all together not much longer."""
    lose(gateway, 2)
    rounds = 60 if FULL else 15
    with gateway.listening() as listener:
        plain = _reuse(gateway, listener, rounds)
        gateway.command("attach", DEVICE)
        injected = _reuse(gateway, listener, rounds)
    assert gateway.counters()["ctproxy_headers"] >= rounds
    assert median(injected) < 1.5 * median(plain) + 0.2, (plain, injected)
    # Losses are drawn, and a handshake that loses its SYN waits for a second.
    assert sum(injected) < 1.5 * sum(plain) + 0.2 * rounds + 6, (plain, injected)


NGINX = (
    HEAD
    + """    server {{
        listen {v4}:8081 proxy_protocol; listen [{v6}]:8081 proxy_protocol;
        location / {{
            set $server "$proxy_protocol_server_addr $proxy_protocol_server_port";
            return 200 "$proxy_protocol_addr $server";
        }}
    }}
}}
"""
)

HAPROXY = """
defaults
    mode http
    timeout client 10s
    timeout connect 10s
    timeout server 10s
frontend f
    bind {v4}:8082 accept-proxy
    bind {v6}:8082 accept-proxy
    http-request return status 200 content-type text/plain lf-string "%[src] %[dst] %[dst_port]"
"""

PEERS = {
    "nginx": (8081, NGINX, ("nginx", "-c", "{file}")),
    "haproxy": (8082, HAPROXY, ("haproxy", "-db", "-f", "{file}")),
}


@pytest.mark.parametrize("name", PEERS)
def test_other_servers_read_the_header(gateway: Gateway, name: str) -> None:
    """nginx and haproxy, which read a header once: IPv4 and IPv6, unsigned and signed."""
    port, config, words = PEERS[name]
    if not shutil.which(name):
        pytest.skip(f"no {name}")
    lab = gateway.lab
    addresses = {version: lab.server.address(version) for version in (4, 6)}
    file = lab.scratch / name
    file.write_text(config.format(folder=lab.scratch, v4=addresses[4], v6=addresses[6]))
    process = lab.server.popen([word.format(file=file) for word in words])
    process.wait_listening(port)
    keys = lab.scratch / "keys"
    keys.touch(mode=0o600)
    keys.write_text("5 " + "ee" * 20)
    with lab.gateway.rules(dnat((addresses[4], port), (addresses[6], port))):
        for signed in ((), ("--auth-key-file", str(keys))):
            gateway.command("attach", DEVICE, *signed)
            for version in (4, 6):
                host, dialled = draw_destination(version)
                url = f"http://{f'[{host}]' if version == 6 else host}:{dialled}/"
                answer = lab.client.run(["curl", "-sS", "-g", "--max-time", "20", url]).stdout
                assert answer == f"{lab.client.address(version)} {host} {dialled}"


TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000


def _tun(path: str, name: str) -> int:
    """Make a tun device in the namespace at `path`; returns its descriptor."""
    with entered(path):
        fd = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return fd


def _carry(ends: tuple[int, int], over: threading.Event) -> None:
    selector = selectors.DefaultSelector()
    for end, other in (ends, ends[::-1]):
        selector.register(end, selectors.EVENT_READ, other)
    while not over.is_set():
        for key, _ in selector.select(0.1):
            with contextlib.suppress(OSError):
                os.write(key.data, os.read(key.fd, 1 << 16))


@pytest.mark.parametrize("version", [4, 6])
def test_a_device_without_link_header(gateway: Gateway, version: int) -> None:
    """The server is behind a tun device, whose packets begin with the IP header."""
    if not Path("/dev/net/tun").exists():
        pytest.skip("no /dev/net/tun")
    lab, over = gateway.lab, threading.Event()
    space = f"/proc/{lab.keeper}/root/run/netns"
    ends = _tun(f"{space}/gateway", "tun0"), _tun(f"{space}/server", "tun0")
    carrier = threading.Thread(target=_carry, args=(ends, over))
    carrier.start()
    try:
        for host, own in (("gateway", 1), ("server", 2)):
            node = getattr(lab, host)
            node.ip("addr", "add", f"10.78.0.{own}/24", "dev", "tun0")
            node.ip("addr", "add", f"fd78::{own}/64", "dev", "tun0", "nodad")
            node.ip("link", "set", "tun0", "up")
        for family in ("-4", "-6"):
            via = "10.78.0.1" if family == "-4" else "fd78::1"
            lab.server.ip(family, "route", "replace", "default", "via", via)
        gateway.command("attach", "tun0")
        with lab.server.listen("0.0.0.0" if version == 4 else "::") as listener:
            port = listener.getsockname()[1]
            with lab.gateway.rules(dnat(("10.78.0.2", port), ("fd78::2", port))):
                for _ in range(3):
                    gateway.visit(listener, version)
        gateway.command("detach", "tun0")
    finally:
        over.set()
        carrier.join()
        for end in ends:
            os.close(end)

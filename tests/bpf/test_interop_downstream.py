# SPDX-License-Identifier: MIT
"""A balancer between injector and server, and health checks that send no header."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from typing import Any

import pytest

from tests import ROOT
from tests.lab import draw_destination, show, until
from tests.lab.node import Node
from tests.lab.process import Process
from tests.lab.rules import dnat

from .available import unavailable
from .gateway import DEVICE, Gateway

NO_HAPROXY = None if shutil.which("haproxy") else "no haproxy: apt-get install haproxy"
pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))

FRONT, SERVICE, HEALTH = 8080, 8081, 8090


@pytest.fixture
def gateway(gateway: Gateway) -> Gateway:
    """A gateway with a key file, to sign headers."""
    keys = gateway.lab.scratch / "keys"
    keys.touch(mode=0o600)
    keys.write_text("5 " + "ee" * 20)
    return gateway


def serve(gateway: Gateway, *options: str) -> Process:
    """Serve on the server: SERVICE expects a header, as `options` say; HEALTH expects none."""
    address = gateway.lab.server.address()
    service, health = f"{address}:{SERVICE}", f"{address}:{HEALTH}"
    command = [sys.executable, "-m", "ctwsgi", "serve", "--bind", service, "--bind", health]
    command += ["--source", f"{service}=proxy", "--source", f"{health}=none", *options]
    process = gateway.lab.server.popen(
        [*command, "tests.lab.greeting:app"], env={"PYTHONPATH": str(ROOT)}
    )
    process.wait_listening(SERVICE, HEALTH)
    return process


def ask(node: Node, address: tuple[str, int]) -> dict[str, Any]:
    """The application's answer: what it knows about the connection."""
    curl = ["curl", "-sS", "--noproxy", "*", "--max-time", "20"]
    answer: dict[str, Any] = json.loads(node.run([*curl, f"http://{show(address)}/json"]).stdout)
    return answer


HAPROXY = """
global
    stats socket {folder}/stats
defaults
    mode tcp
    timeout client 20s
    timeout connect 20s
    timeout server 20s
frontend front
    bind {address}:{front} accept-proxy
    default_backend back
backend back
    option httpchk GET /health
    default-server inter 100ms fall 1000
    server one {address}:{service} send-proxy-v2 source {own} check port {health}
"""
"""A check's time limit is `inter`, which a busy machine exceeds. The first check takes the server
away if it fails, later ones only after `fall` failures, and two that pass bring it back: the test
waits until one has passed and the server is there.
"""


@pytest.mark.skipif(bool(NO_HAPROXY), reason=str(NO_HAPROXY))
def test_a_balancer_reads_and_writes_again(gateway: Gateway) -> None:
    """The balancer passes the origin on, but not the signature: the server trusts its address.

    Its health checks go to the listener that expects no header.
    """
    lab = gateway.lab
    address = lab.server.address()
    own = "10.77.2.3"
    lab.server.ip("addr", "add", f"{own}/24", "dev", "gateway")
    config = lab.scratch / "haproxy.cfg"
    config.write_text(
        HAPROXY.format(
            folder=lab.scratch,
            address=address,
            own=own,
            front=FRONT,
            service=SERVICE,
            health=HEALTH,
        )
    )
    server = serve(gateway, "--trust", f"{own}/32")
    lab.server.popen(["haproxy", "-db", "-f", str(config)]).wait_listening(FRONT)
    until(lambda: _is_up(gateway), "a check that passed")
    gateway.command("attach", DEVICE, "--auth-key-file", str(lab.scratch / "keys"))
    with lab.gateway.rules(dnat((address, FRONT), ("fd77:0:0:2::2", FRONT))):
        for _ in range(2):
            destination = draw_destination(4)
            answer = ask(lab.client, destination)
            assert answer["orig_dst"] == list(destination)
            assert answer["orig_src"][0] == lab.client.address()
            assert (answer["source"], answer["verified"]) == ("proxy", False)
    # A peer other than the balancer is refused.
    before = len(server.log())
    assert lab.client.run(["curl", "-sS", f"http://{address}:{SERVICE}/"], check=False).returncode
    server.wait_log("origin refused: untrusted-peer", since=before)


def _is_up(gateway: Gateway) -> bool:
    (row,) = (row for row in csv.DictReader(_stats(gateway).splitlines()) if row["svname"] == "one")
    return row["status"].startswith("UP") and row["check_status"] == "L7OK"


def _stats(gateway: Gateway) -> str:
    script = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.sendall(b'show stat\\n'); print(s.makefile().read())"
    )
    path = str(gateway.lab.scratch / "stats")
    return gateway.lab.server.run([sys.executable, "-c", script, path]).stdout


def test_a_check_has_a_listener_of_its_own(gateway: Gateway) -> None:
    """One listener demands a signed header, the other one expects none."""
    lab = gateway.lab
    address, keys = lab.server.address(), str(lab.scratch / "keys")
    server = serve(gateway, "--trust", "inline", "--auth-key-file", keys)
    gateway.command("attach", DEVICE, "--auth-key-file", keys)
    with lab.gateway.rules(dnat((address, SERVICE), ("fd77:0:0:2::2", SERVICE))):
        destination = draw_destination(4)
        answer = ask(lab.client, destination)
        assert (answer["orig_dst"], answer["verified"]) == (list(destination), True)
    answer = ask(lab.gateway, (address, HEALTH))
    assert (answer["orig_dst"], answer["source"]) == (None, "none")
    # The same check fails at the listener that demands a header.
    before = len(server.log())
    url = f"http://{address}:{SERVICE}/json"
    assert lab.gateway.run(["curl", "-sS", "--max-time", "20", url], check=False).returncode
    server.wait_log("origin refused: ", since=before)

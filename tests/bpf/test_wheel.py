# SPDX-License-Identifier: MIT
"""A newcomer's gateway: the wheel in a fresh virtual environment, no compiler, docs/ebpf.md.

The steps of that page are run as they stand there, but for the two that fetch from the network.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, draw_destination, until
from tests.lab.requirements import SEARCH
from tests.lab.topology import Host, Topology, Wire, show

from .available import unavailable
from .gateway import ROOT

pytestmark = [
    pytest.mark.skipif(bool(unavailable()), reason=str(unavailable())),
    pytest.mark.skipif(
        not shutil.which("openssl"), reason="no openssl, which docs/ebpf.md makes a key with"
    ),
]

# The page's gateway reaches its server by eth1: here a device has its neighbour's name.
TOPOLOGY = Topology(
    hosts=(
        Host("client", default="gateway"),
        Host("gateway", forwards=True),
        Host("eth1", default="gateway"),
    ),
    wires=(Wire("client", "gateway"), Wire("gateway", "eth1")),
)
SERVER, PORT = "10.0.0.5", 8080

FETCHED = ("apt-get install ", "python3 -m venv ", "PATH=", "pip install ")
"""Steps that the fixture `installed` stands for."""

APP = """
import json
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    keys = ("ct.orig_dst", "ct.orig_src", "ct.source", "ct.verified")
    return [json.dumps({key: environ[key] for key in keys}).encode()]
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The virtual environment. What ctwsgi depends on is lent by the one that runs the tests."""
    folder = tmp_path_factory.mktemp("newcomer")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    quiet = ["--quiet", "--no-deps"]
    build = [*pip, "wheel", *quiet, "--no-build-isolation", "-w", str(folder), str(ROOT)]
    subprocess.run(build, check=True, stderr=subprocess.DEVNULL)
    (wheel,) = folder.glob("ctwsgi-*.whl")
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages,) = venv.glob("lib/python*/site-packages")
    # Behind the environment's own: the checkout, which is installed there for work on it, is not.
    (packages / "lent.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    into = [*pip, "--python", str(venv / "bin/python"), "install", "--no-index", *quiet]
    subprocess.run([*into, str(wheel)], check=True)
    return venv


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(TOPOLOGY) as lab:
        lab.eth1.ip("addr", "add", SERVER, "dev", "lo")
        lab.gateway.ip("route", "add", SERVER, "via", lab.topology.address("eth1", "gateway"))
        try:
            yield lab
        finally:
            # What is pinned outlives its namespace.
            lab.gateway.run([sys.executable, "-m", "ctwsgi", "gateway", "detach", "eth1"])


def steps() -> tuple[list[str], str, list[str]]:
    """What docs/ebpf.md says on the gateway, on the server, and for the next boot."""
    page = (ROOT / "docs/ebpf.md").read_text()
    section = page.split("\n## ")[1]
    assert section.startswith("A gateway, step by step")
    blocks = re.findall(r"(?:^    \S.*\n)+", section, re.MULTILINE)
    gateway, server, boot = ([line.strip() for line in block.splitlines()] for block in blocks[:3])
    assert tuple(line for line in gateway if line.startswith(FETCHED)) == tuple(gateway[:4])
    (serve,) = server
    return gateway[4:], serve, boot


class Newcomer:
    """Runs the page's lines in the lab, with a PATH in which there is little, and no clang."""

    def __init__(self, lab: Lab, venv: Path) -> None:
        self._lab = lab
        self._tools = lab.scratch / "bin"
        self._tools.mkdir()
        for tool in ("nft", "ip", "tc", "openssl", "mkdir"):
            found = shutil.which(tool, path=SEARCH)
            assert found
            (self._tools / tool).symlink_to(found)
        assert not shutil.which("clang", path=str(self._tools))
        (lab.scratch / "app.py").write_text(APP)
        self._path = f"{venv / 'bin'}:{self._tools}"

    def argv(self, line: str) -> list[str]:
        """In a folder that holds the application; /etc is in there as well."""
        here = line.replace("/etc/", f"{self._lab.scratch}/etc/")
        script = f"set -e; cd {self._lab.scratch}; {here}"
        return ["/usr/bin/env", "-i", f"PATH={self._path}", "/bin/sh", "-c", script]


def test_the_page_step_by_step(lab: Lab, installed: Path) -> None:
    """Every backend behind it knows where its clients were going, signed; all from the wheel."""
    newcomer = Newcomer(lab, installed)
    whence = "python -c 'import ctwsgi; print(ctwsgi.__file__)'"
    assert lab.gateway.run(newcomer.argv(whence)).stdout.startswith(str(installed))
    gateway, serve, boot = steps()
    for line in gateway:
        lab.gateway.run(newcomer.argv(line))
    server = lab.eth1.popen(newcomer.argv(serve))
    server.wait_listening(PORT)
    for _ in range(2):
        host = draw_destination(4)[0]
        curl = ["curl", "-sS", "--noproxy", "*", "--max-time", "20", f"http://{host}/"]
        told = json.loads(lab.client.run(curl).stdout)
        assert told["ct.orig_dst"] == [host, 80]
        assert told["ct.orig_src"][0] == lab.client.address()
        assert (told["ct.source"], told["ct.verified"]) == ("proxy", True)
    status = json.loads(lab.gateway.run(newcomer.argv("ctwsgi gateway status eth1 --json")).stdout)
    assert status[0]["counters"]["ctproxy_headers"] == 2
    assert status[0]["key_id"] == 1
    # Nobody gets past it.
    direct = ["curl", "-sS", "--max-time", "1", f"http://{show((SERVER, PORT))}/"]
    assert lab.client.run(direct, check=False).returncode == 28  # CURLE_OPERATION_TIMEDOUT
    _after_a_reboot(lab, newcomer, boot)


def _after_a_reboot(lab: Lab, newcomer: Newcomer, boot: list[str]) -> None:
    """The unit's own commands: attached by the first, then the rules by the second."""
    (lab.scratch / "etc/systemd/system").mkdir(parents=True)
    *lines, enable = boot
    for line in lines:
        lab.gateway.run(newcomer.argv(line))
    assert enable == "systemctl enable --now ctwsgi-gateway"
    lab.gateway.nft("delete table inet ctwsgi")
    lab.gateway.run(newcomer.argv("ctwsgi gateway detach eth1"))
    unit = (lab.scratch / "etc/systemd/system/ctwsgi-gateway.service").read_text()
    (start,) = re.findall(r"^ExecStart=(.*)", unit, re.MULTILINE)
    (load,) = re.findall(r"^ExecStartPost=(.*)", unit, re.MULTILINE)
    process = lab.gateway.popen(["/usr/bin/env", "-i", *start.split()])
    process.wait_log("attached")
    lab.gateway.run(newcomer.argv(load))
    host = draw_destination(4)[0]
    curl = ["curl", "-sS", "--noproxy", "*", "--max-time", "20", f"http://{host}/"]
    told = until(lambda: lab.client.run(curl).stdout, "an answer")
    assert json.loads(told)["ct.verified"] is True
    assert process.stop() == 0

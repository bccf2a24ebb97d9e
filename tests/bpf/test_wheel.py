# SPDX-License-Identifier: MIT
"""The steps of docs/ebpf.md on a gateway that has the wheel in a new virtual environment.

They are run as the page has them, without those that fetch from the network. No compiler is in
PATH.
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

from tests import ROOT
from tests.lab import Lab, draw_destination, until
from tests.lab.topology import Host, Topology, Wire, show
from tests.wheels import PIP, build, copy_of_sources

from .available import unavailable

pytestmark = [
    pytest.mark.skipif(bool(unavailable()), reason=str(unavailable())),
    pytest.mark.skipif(
        not shutil.which("openssl"), reason="no openssl, which docs/ebpf.md makes a key with"
    ),
]

# A device of the lab has the name of the host at its other end. On the page the clients are behind
# eth0, and the server is behind eth1.
TOPOLOGY = Topology(
    hosts=(
        Host("eth0", default="gateway"),
        Host("gateway", forwards=True),
        Host("eth1", default="gateway"),
    ),
    wires=(Wire("eth0", "gateway"), Wire("gateway", "eth1")),
)
SERVER, PORT = "10.0.0.5", 8080

FETCHED = ("apt-get install ", "python3 -m venv ", "PATH=", "pip install ")
"""Steps that the fixture `installed` replaces."""

APP = """
import json
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    keys = ("ct.orig_dst", "ct.orig_src", "ct.source", "ct.verified")
    return [json.dumps({key: environ[key] for key in keys}).encode()]
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel that this checkout builds."""
    folder = tmp_path_factory.mktemp("newcomer")
    return install(build(ROOT, folder), folder)


def install(wheel: Path, folder: Path) -> Path:
    """Make a virtual environment in `folder` and install the wheel. The dependencies of ctwsgi are
    taken from the environment that runs the tests."""
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages,) = venv.glob("lib/python*/site-packages")
    # The wheel comes first in sys.path. The .pth file of the checkout is not read in this folder.
    (packages / "lent.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    into = [*PIP, "--python", str(venv / "bin/python"), "install", "--no-index"]
    subprocess.run([*into, "--quiet", "--no-deps", str(wheel)], check=True)
    return venv


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(TOPOLOGY) as lab:
        lab.eth1.ip("addr", "add", SERVER, "dev", "lo")
        lab.gateway.ip("route", "add", SERVER, "via", lab.topology.address("eth1", "gateway"))
        try:
            yield lab
        finally:
            # Pins stay when their namespace ends.
            lab.gateway.run([sys.executable, "-m", "ctwsgi", "gateway", "detach", "eth1"])


def steps() -> tuple[list[str], str, list[str]]:
    """The commands of docs/ebpf.md for the gateway, for the server, and for the next boot."""
    page = (ROOT / "docs/ebpf.md").read_text()
    section = page.split("\n## ")[1]
    assert section.startswith("A gateway, step by step")
    blocks = re.findall(r"(?:^    \S.*\n)+", section, re.MULTILINE)
    gateway, server, boot = ([line.strip() for line in block.splitlines()] for block in blocks[:3])
    assert tuple(line for line in gateway if line.startswith(FETCHED)) == tuple(gateway[:4])
    (serve,) = server
    return gateway[4:], serve, boot


class Newcomer:
    """Runs the page's commands in the lab, with a PATH of few commands, without clang."""

    def __init__(self, lab: Lab, venv: Path) -> None:
        self._lab = lab
        self._tools = lab.scratch / "bin"
        self._tools.mkdir()
        for tool in ("nft", "ip", "tc", "openssl", "mkdir"):
            found = shutil.which(tool)
            assert found
            (self._tools / tool).symlink_to(found)
        assert not shutil.which("clang", path=str(self._tools))
        (lab.scratch / "app.py").write_text(APP)
        self._path = f"{venv / 'bin'}:{self._tools}"

    def argv(self, line: str) -> list[str]:
        """The command in a folder that has the application and stands for /etc too."""
        here = line.replace("/etc/", f"{self._lab.scratch}/etc/")
        script = f"set -e; cd {self._lab.scratch}; {here}"
        return ["/usr/bin/env", "-i", f"PATH={self._path}", "/bin/sh", "-c", script]


def test_the_page_step_by_step(lab: Lab, installed: Path) -> None:
    """The server gets each client's destination in a signed header."""
    newcomer = Newcomer(lab, installed)
    show_module = "python -c 'import ctwsgi; print(ctwsgi.__file__)'"
    assert lab.gateway.run(newcomer.argv(show_module)).stdout.startswith(str(installed))
    gateway, serve, boot = steps()
    for line in gateway:
        lab.gateway.run(newcomer.argv(line))
    server = lab.eth1.popen(newcomer.argv(serve))
    server.wait_listening(PORT)
    for _ in range(2):
        host = draw_destination(4)[0]
        curl = ["curl", "-sS", "--noproxy", "*", "--max-time", "20", f"http://{host}/"]
        answer = json.loads(lab.eth0.run(curl).stdout)
        assert answer["ct.orig_dst"] == [host, 80]
        assert answer["ct.orig_src"][0] == lab.eth0.address()
        assert (answer["ct.source"], answer["ct.verified"]) == ("proxy", True)
    status = json.loads(lab.gateway.run(newcomer.argv("ctwsgi gateway status eth1 --json")).stdout)
    assert status[0]["counters"]["ctproxy_headers"] == 2
    assert status[0]["key_id"] == 1
    _own_traffic_of_the_server_is_left_alone(lab)
    # The guard drops a direct connection.
    direct = ["curl", "-sS", "--max-time", "1", f"http://{show((SERVER, PORT))}/"]
    assert lab.eth0.run(direct, check=False).returncode == 28  # CURLE_OPERATION_TIMEDOUT
    _after_a_reboot(lab, newcomer, boot)


def _own_traffic_of_the_server_is_left_alone(lab: Lab) -> None:
    """Its connection to port 80 of another host is not translated back to itself."""
    with lab.eth0.listen("0.0.0.0", 80) as other, lab.eth1.connect((lab.eth0.address(), 80)):
        other.accept()[0].close()


def test_without_clang_attach_says_how_to_get_the_program(lab: Lab, tmp_path: Path) -> None:
    wheel = build(copy_of_sources(tmp_path / "source"), tmp_path / "wheel", path="")
    newcomer = Newcomer(lab, install(wheel, tmp_path))
    refused = lab.gateway.run(newcomer.argv("ctwsgi gateway attach eth1"), check=False)
    assert refused.returncode == 2
    python = tmp_path / "venv/bin/python"
    assert refused.stderr == (
        "Error: ctwsgi was installed without the eBPF program. In ctwsgi's source folder: "
        "apt-get install clang llvm libbpf-dev make libbpf1 && "
        f"{python} -m pip install --force-reinstall --no-deps .\n"
    )


def _after_a_reboot(lab: Lab, newcomer: Newcomer, boot: list[str]) -> None:
    """Run the unit's commands: ExecStart attaches, ExecStartPost loads the rules."""
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
    answer = until(lambda: lab.eth0.run(curl).stdout, "an answer")
    assert json.loads(answer)["ct.verified"] is True
    assert process.stop() == 0

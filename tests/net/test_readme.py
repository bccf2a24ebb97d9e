# SPDX-License-Identifier: MIT
"""README.md: its first two ways, typed as they stand there, with the devices and addresses that the
lab has."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ROOT
from tests.lab import Lab, Process, draw_destination, unavailable
from tests.lab.ebpf import why_no_ebpf
from tests.lab.ending import undisturbed

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


def blocks(way: str) -> list[str]:
    """The indented blocks of a way, without the indentation."""
    _, _, section = (ROOT / "README.md").read_text().partition(f"**{way}")
    section = section.partition("\n**")[0]
    found = re.findall(r"(?:(?:^    .*)?\n)+", section, re.MULTILINE)
    return [textwrap.dedent(block).strip() for block in found if block.strip()]


def here(block: str, word: str) -> str:
    """What stands between <<'WORD' and WORD."""
    _, begins, rest = block.partition(f"<<'{word}'\n")
    text, ends, _ = rest.partition(f"\n{word}\n")
    assert begins
    assert ends
    return text + "\n"


def rules() -> str:
    text = here(blocks("1. ")[0], "RULES")
    assert 'iifname "lan0"' in text
    return text.replace("lan0", "client")


def start(lab: Lab, host: str, command: str, folder: Path) -> Process:
    """The command on a host, in a folder; its program is that of this environment."""
    program, *words = command.partition("  #")[0].replace("'", "").split()
    line = [sys.executable, "-m", program, *words, "--chdir", str(folder)]
    server: Process = getattr(lab, host).popen(line)
    server.wait_listening(8080)
    return server


def visit(lab: Lab, version: int) -> tuple[str, str]:
    """An address that exists nowhere, and what the application said to a visitor of it."""
    name = draw_destination(version)[0]
    shown = f"[{name}]" if version == 6 else name
    curl = ["curl", "-sS", "--noproxy", "*", "--max-time", "20", f"http://{shown}/"]
    return name, lab.client.run(curl).stdout


def visit_both(lab: Lab) -> None:
    """Over IPv4 and IPv6 the application tells where the visitor was going."""
    for version in (4, 6):
        name, answer = visit(lab, version)
        assert answer == f"you were going to {(name, 80)}\n"


def test_the_first_way(lab: Lab, tmp_path: Path) -> None:
    block = blocks("1. ")[0]
    (tmp_path / "app.py").write_text(here(block, "PYTHON"))
    lab.gateway.nft(rules())
    start(lab, "gateway", block.splitlines()[-1], tmp_path)
    visit_both(lab)


@pytest.mark.skipif(bool(why_no_ebpf()), reason=str(why_no_ebpf()))
def test_the_first_way_behind_a_gateway(lab: Lab, tmp_path: Path) -> None:
    """The clients' device is `client` here, the server's `server`."""
    first, gateway, server = blocks("1. ")[:3]
    (tmp_path / "app.py").write_text(here(first, "PYTHON"))

    changes = {
        "10.0.0.5": lab.server.address(),
        "eth0": "client",
        "eth1": "server",
        "ctwsgi gateway": f"{sys.executable} -m ctwsgi gateway",
        "--auth-key-file key": f"--auth-key-file {tmp_path}/key",
    }

    def ours(text: str) -> str:
        for word, other in changes.items():
            text = text.replace(word, other)
        return text

    assert all(word in gateway for word in changes)
    try:
        with undisturbed():  # an attach that is killed half-way leaves pinned objects
            lab.gateway.run(["bash", "-ec", f"cd {tmp_path}\nset -o pipefail\n{ours(gateway)}"])
        start(lab, "server", ours(server), tmp_path)
        name, answer = visit(lab, 4)
        assert answer == f"you were going to {(name, 80)}\n"
    finally:
        with undisturbed():
            lab.gateway.run([sys.executable, "-m", "ctwsgi", "gateway", "detach", "server"])


def test_the_second_way(lab: Lab, tmp_path: Path) -> None:
    (block,) = blocks("2. ")
    (tmp_path / "hello.py").write_text(here(block, "PYTHON"))
    lab.gateway.nft(rules())
    start(lab, "gateway", block.splitlines()[-1], tmp_path)
    visit_both(lab)
    direct = ["curl", "-sS", "--noproxy", "*", f"http://{lab.gateway.address()}:8080/"]
    assert lab.client.run(direct).stdout == "you came here directly\n"

# SPDX-License-Identifier: MIT
"""`ctwsgi check` on a gateway that has the program: which servers a client could dial itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.rules import dnat

from .available import unavailable
from .gateway import DEVICE, Gateway
from .keys import KEYS, key_file

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))

PORT = 8080

MARKS = (
    "table inet marks {\n chain pre {\n type filter hook prerouting priority mangle;\n"
    " ct state new tcp dport 80 ct mark set 0x61\n }\n}\n"
)

DOCKER = """\
*nat
:PREROUTING ACCEPT
:POSTROUTING ACCEPT
:DOCKER -
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s {network} ! -o docker0 -j MASQUERADE
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 80 -j DNAT --to-destination {container}
COMMIT
*filter
:FORWARD DROP
:DOCKER -
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
COMMIT
"""
"""The shape of Docker's own rules."""

NETWORKS = {
    "iptables": {"network": "172.17.0.0/16", "container": "172.17.0.2:80"},
    "ip6tables": {"network": "fd17::/64", "container": "[fd17::2]:80"},
}


def check(gateway: Gateway) -> subprocess.CompletedProcess[str]:
    return gateway.lab.gateway.run([sys.executable, "-m", "ctwsgi", "check"], check=False)


def lines(gateway: Gateway, subject: str) -> list[tuple[str, str]]:
    """Level and text of the findings about `subject`."""
    return re.findall(rf"^(\w+) +{subject}: (.*)$", check(gateway).stdout, re.MULTILINE)


def target(gateway: Gateway, version: int) -> str:
    host = gateway.lab.server.address(version)
    shown = host if version == 4 else f"[{host}]"
    return f"eBPF on {DEVICE}, tcp over IPv{version} to {shown}:{PORT}"


def translated(gateway: Gateway) -> None:
    """Translate what clients dial to both addresses of the server."""
    gateway.lab.gateway.nft(
        str(dnat(*((gateway.lab.server.address(version), PORT) for version in (4, 6))))
    )


@pytest.mark.parametrize("selection", ["backends", "mark", "translated"])
def test_the_guard_that_is_missing(gateway: Gateway, selection: str) -> None:
    """It is named for each server and IP version, and loading what is printed is enough."""
    translated(gateway)
    options = {"backends": gateway.backends(PORT), "mark": ["--mark", "0x61"]}
    gateway.lab.gateway.nft(MARKS)
    gateway.command("attach", DEVICE, *options.get(selection, []))
    done = check(gateway)
    assert (done.returncode, done.stderr) == (1, "")
    for version in (4, 6):
        assert f"todo  rules: {target(gateway, version)}: no guard: " in done.stdout
    assert f"note  ebpf: attached to {DEVICE}: headers are not signed" in done.stdout
    for table in re.findall(
        r"^ +table inet ctwsgi_guard \{\n(?: .*\n)*", done.stdout, re.MULTILINE
    ):
        gateway.lab.gateway.nft(table)
    assert lines(gateway, "rules") == [
        ("ok", f"{target(gateway, version)}: guarded") for version in (4, 6)
    ]
    assert check(gateway).returncode == 0


def test_signed_headers_need_no_guard(gateway: Gateway, tmp_path: Path) -> None:
    translated(gateway)
    keys = key_file(tmp_path / "keys", KEYS[7])
    gateway.command("attach", DEVICE, *gateway.backends(PORT), "--auth-key-file", str(keys))
    ((level, text),) = lines(gateway, "ebpf")
    assert (level, text.partition(": ")[0]) == ("ok", f"attached to {DEVICE}")
    assert "signed with key 7" in text
    assert [level for level, _ in lines(gateway, "rules")] == ["ok", "ok"]
    assert all("--auth-key-file" in text for _, text in lines(gateway, "rules"))


def test_an_ip_version_that_is_translated_and_gets_no_header(gateway: Gateway) -> None:
    translated(gateway)
    gateway.command("attach", DEVICE, *gateway.backends(PORT)[:2])
    found = {text.partition(": ")[0]: text for _, text in lines(gateway, "rules")}
    assert "translated, but not marked" in found[target(gateway, 6)]


@pytest.mark.skipif(not shutil.which("iptables-nft-restore"), reason="apt-get install iptables")
@pytest.mark.parametrize("family", ["ip", "ip6"])
def test_rules_of_iptables_are_not_read_and_that_is_said(gateway: Gateway, family: str) -> None:
    tool = {"ip": "iptables", "ip6": "ip6tables"}[family]
    rules = gateway.lab.scratch / "rules"
    rules.write_text(DOCKER.format(**NETWORKS[tool]))
    gateway.lab.gateway.run([f"{tool}-nft-restore", str(rules)])
    gateway.command("attach", DEVICE)
    unread, unknown = lines(gateway, "rules")
    assert unread[0] == unknown[0] == "note"
    assert f"iptables has rules in {family} filter, {family} nat that are not read" in unread[1]
    assert f"what gets a header by eBPF on {DEVICE} may be translated" in unknown[1]


def test_a_program_that_is_lost(gateway: Gateway) -> None:
    """Its device is not called attached, and the line to type is there."""
    options = [*gateway.backends(PORT), "--udp", str(PORT), "--existing", "pass"]
    gateway.command("attach", DEVICE, *options)
    gateway.remove("ingress")
    done = check(gateway)
    assert done.returncode == 1
    assert f"todo  ebpf: {DEVICE} has lost its program" in done.stdout
    assert f"          ctwsgi gateway attach {DEVICE} {' '.join(options)}\n" in done.stdout

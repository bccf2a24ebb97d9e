# SPDX-License-Identifier: MIT
"""README.md: its first way, typed as it stands there, on a gateway with a client behind it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tests.lab import Lab, draw_destination, unavailable

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))

APPLICATION = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr(environ["ct.orig_dst"]).encode()]
"""


def first_way() -> tuple[str, list[str]]:
    """The rules, for the device that the lab has, and the words of the command behind them."""
    section = (ROOT / "README.md").read_text().partition("**1. A server of its own")[2]
    block = re.search(r"(?:^    .*\n)+", section, re.MULTILINE)
    assert block
    rules, _, command = block[0].partition("<<'RULES'\n")[2].partition("    RULES\n")
    assert 'iifname "lan0"' in rules
    return rules.replace("lan0", "client"), command.replace("'", "").split()


def test_the_first_way(tmp_path: Path) -> None:
    rules, command = first_way()
    (tmp_path / "app.py").write_text(APPLICATION)
    with Lab() as lab:
        lab.gateway.nft(rules)
        assert command[0] == "ctwsgi"
        words = [sys.executable, "-m", *command, "--chdir", str(tmp_path)]
        server = lab.gateway.popen(words)
        server.wait_listening(8080)
        for version in (4, 6):
            host = draw_destination(version)[0]
            shown = f"[{host}]" if version == 6 else host
            curl = ["curl", "-sS", "--noproxy", "*", "--max-time", "20", f"http://{shown}/"]
            assert lab.client.run(curl).stdout == repr((host, 80))

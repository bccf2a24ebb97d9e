# SPDX-License-Identifier: MIT
"""`make portal` where it cannot start: one line that says what to type."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from tests import ROOT


def make_portal(port: str) -> str:
    """Its error output."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.lab.portal"],
        cwd=ROOT, env={**os.environ, "PROXY_PORT": port}, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr


def test_a_port_that_is_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        told = make_portal(str(port))
    line, end = told.split("\n")
    assert line.startswith(f"portal: port {port} is in use by ")
    assert line.endswith(f" (pid {os.getpid()}): type PROXY_PORT={port + 1} make portal")
    assert end == ""


@pytest.mark.parametrize("word", ["x", "0", "65536", "-1"])
def test_what_is_no_port(word: str) -> None:
    told = make_portal(word)
    assert told == f"portal: PROXY_PORT='{word}' is not a port: type PROXY_PORT=8900 make portal\n"

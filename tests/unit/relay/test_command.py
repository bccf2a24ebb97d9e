# SPDX-License-Identifier: MIT
"""The options of `ctwsgi relay`, and its messages when it cannot start."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner

from ctwsgi.relay import (
    Endpoint,
    parse_listen,
    parse_upstream,
)
from ctwsgi.relay.command import relay as command
from tests import ROOT
from tests.lab.wait import until

from .rig import DEADLINE


@pytest.mark.parametrize(
    ("text", "family", "shown"),
    [
        ("127.0.0.1:80", socket.AF_INET, "127.0.0.1:80"),
        ("[::1]:80", socket.AF_INET6, "[::1]:80"),
        ("0.0.0.0:0", socket.AF_INET, "0.0.0.0:0"),
    ],
)
def test_parse_listen(text, family, shown):
    endpoint = parse_listen(text)
    assert endpoint.family == family
    assert str(endpoint) == shown


@pytest.mark.parametrize(
    "text",
    ["", "80", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1",
     "::1:80", "[::1]", "[::1]80", "[127.0.0.1:80", "localhost:80", "127.0.0.1:\u0661", "[]:80",
     "256.0.0.1:80"],
)  # fmt: skip
def test_parse_listen_refuses(text):
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        parse_listen(text)


@pytest.mark.parametrize("text", ["127.0.0.1:0", "unix:", "nowhere.invalid:80", "a..b:80", "x"])
def test_parse_upstream_refuses(text):
    with pytest.raises(ValueError, match=repr(text)):
        parse_upstream(text)


def test_parse_upstream_resolves_names():
    found = parse_upstream("localhost:80")
    assert {endpoint.sockaddr[0] for endpoint in found} <= {"127.0.0.1", "::1"}
    assert {endpoint.sockaddr[1] for endpoint in found} == {80}
    assert str(Endpoint(socket.AF_UNIX, "/run/x")) == "unix:/run/x"


USUAL = ("--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:9")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--listen", "127.0.0.1", *USUAL[2:], "--format", "proxy"), "not HOST:PORT"),
        (("--listen", "192.0.2.1:80", *USUAL[2:], "--format", "proxy"), "choose a free address"),
        ((*USUAL[:2], "--upstream", "unix:", "--format", "proxy"), "names no path"),
        ((*USUAL, "--format", "proxy", "--self", "here"), "neither ADDR nor ADDR:PORT"),
        ((*USUAL, "--format", "proxy", "--auth-key-file", "/nonexistent"), "/nonexistent"),
        ((*USUAL, "--format", "ctframe", "--auth-key-file", "/x"), "use --format proxy"),
        ((*USUAL, "--format", "ctframe", "--crc32c"), "use --format proxy"),
    ],
)
def test_what_keeps_it_from_starting_is_one_line(arguments, says):
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert says in result.output
    assert result.output.count("\n") == 1
    assert "Traceback" not in result.output


def test_a_taken_port_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        arguments = ("--listen", address, *USUAL[2:], "--format", "proxy")
        result = CliRunner().invoke(command, arguments)
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert address in result.output


def test_a_bad_key_is_not_shown(tmp_path):
    path = tmp_path / "keys"
    path.write_text("1 c0ffee\n")
    path.chmod(0o600)
    arguments = (*USUAL, "--format", "proxy", "--auth-key-file", str(path))
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert f"{path}:1" in result.output
    assert "c0ffee" not in result.output


def test_a_life_by_signals(tmp_path):
    """The process starts on a free port, survives SIGHUP, counts, and exits with 0."""
    keys, path = tmp_path / "keys", tmp_path / "log"
    keys.write_text("1 " + "ab" * 16)
    keys.chmod(0o600)
    arguments = (*USUAL, "--format", "proxy", "--auth-key-file", str(keys), "--verbose")
    with path.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ctwsgi", "relay", *arguments], stdout=log, stderr=log, cwd=ROOT
        )
    try:
        for number, says in (
            (None, "writing proxy to 127.0.0.1:9"),
            (signal.SIGHUP, "signing with key 1"),
            (signal.SIGUSR1, "counters: active=0"),
            (signal.SIGTERM, "stopping"),
        ):
            if number:
                process.send_signal(number)
            until(lambda: says in path.read_text(), says)  # noqa: B023 - called at once
        assert process.wait(DEADLINE) == 0
    finally:
        process.kill()
        process.wait()
    assert path.read_text().count("counters: active=0") == 2

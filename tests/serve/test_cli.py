# SPDX-License-Identifier: MIT
"""The `ctwsgi` command itself, and `ctwsgi decode`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ctwsgi import __version__
from ctwsgi.wire import proxy
from ctwsgi.wire.auth import Key
from ctwsgi.wire.ctframe import encode_stream

from .served import DEADLINE

SRC, DST = ("192.0.2.1", 5555), ("198.18.0.1", 80)
KEY = Key(1, b"1" * 16)


def run(*args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "ctwsgi", *args],
        input=stdin,
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )


def test_help_names_the_commands_without_importing_them() -> None:
    result = run("--help")
    assert result.returncode == 0
    text = result.stdout.decode()
    assert text.startswith("Usage: ctwsgi [OPTIONS] COMMAND")
    for command in ("serve", "relay", "decode"):
        assert f"\n  {command} " in text
    code = "import sys; from ctwsgi.cli import main; main(['--help'], standalone_mode=False);"
    code += "print(*sys.modules, file=sys.stderr)"
    # Without coverage's hook, which imports gevent.
    environ = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ
    ).stderr.split()
    assert not {"gevent", "gunicorn", "httptools", "psutil"} & set(loaded)


def test_the_script_is_the_module() -> None:
    script = Path(sys.executable).with_name("ctwsgi")
    for word in ("--version", "--help"):
        result = subprocess.run([script, word], capture_output=True, check=True)
        assert result.stdout == run(word).stdout
    assert run("--version").stdout.decode() == f"ctwsgi {__version__}\n"


def test_an_unknown_command_is_said_so() -> None:
    result = run("serf")
    assert result.returncode == 2
    assert b"No such command 'serf'" in result.stderr


def test_help_of_serve_has_our_options_first_and_no_refused_ones() -> None:
    text = run("serve", "--help").stdout.decode()
    assert text.startswith("usage: ctwsgi serve [OPTIONS] MODULE:APP")
    places = [
        text.index(f"\n{section}:") for section in ("Original destination", "Worker Processes")
    ]
    places.append(text.index("\nLogging:"))
    assert places == sorted(places)
    options = "source trust guarded snat auth-key-file auth-window self require-redirect"
    options += " origin-timeout request-timeout body-timeout certfile keyfile bind workers reload"
    for option in options.split():
        assert f"--{option}" in text
    for option in ("threads", "proxy-protocol", "dirty-app", "worker-class", "http2", "asgi"):
        assert f"--{option}" not in text
    assert ":ref:" not in text
    assert "``" not in text


def test_version_of_serve_names_both() -> None:
    text = run("serve", "--version").stdout.decode()
    assert text.startswith(f"ctwsgi {__version__} (gunicorn ")


def decoded(*args: str, stdin: bytes) -> tuple[int, dict[str, object]]:
    result = run("decode", *args, stdin=stdin)
    return result.returncode, dict(json.loads(result.stdout))


def test_decode_frames(tmp_path: Path) -> None:
    stream = encode_stream(DST, b"payload" * 1000, 100)
    (tmp_path / "stream").write_bytes(stream)
    args = ["decode", "--source", "ctframe", "--payload", str(tmp_path / "out")]
    result = run(*args, str(tmp_path / "stream"))
    assert result.returncode == 0
    expected = {"source": "ctframe", "orig_dst": list(DST), "payload_bytes": 7000}
    assert json.loads(result.stdout) == expected
    assert (tmp_path / "out").read_bytes() == b"payload" * 1000
    assert decoded("--source", "ctframe", stdin=stream) == (0, expected)


def test_decode_a_header(tmp_path: Path) -> None:
    header = proxy.encode_v2(SRC, DST, tlvs=[(0xEE, b"x")])
    status, found = decoded("--source=proxy", f"--payload={tmp_path / 'out'}", stdin=header + b"ab")
    assert status == 0
    assert found == {
        "source": "proxy",
        "version": 2,
        "command": "PROXY",
        "orig_dst": list(DST),
        "orig_src": list(SRC),
        "translated_src": None,
        "auth": None,
        "tlvs": [[0xEE, "78"]],
        "payload_bytes": 2,
    }
    assert (tmp_path / "out").read_bytes() == b"ab"


def test_decode_verifies_a_signature_of_any_age(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.touch(mode=0o600)
    keys.write_text(f"1 {KEY.secret.hex()}\n")
    args = ("--source=proxy", f"--auth-key-file={keys}")
    header = proxy.encode_v2(SRC, DST, key=KEY, now=1e9)
    assert decoded(*args, stdin=header)[1]["auth"] == 1
    forged = proxy.encode_v2(SRC, DST, key=Key(1, b"2" * 16), now=1e9)
    status, found = decoded(*args, stdin=forged)
    assert (status, found["error"]) == (1, "auth-tag")


@pytest.mark.parametrize(
    ("source", "stream", "reason"),
    [
        ("proxy", b"GET / HTTP/1.1\r\n", "no-header"),
        ("proxy", b"PROXY TCP4 ", "eof-in-header"),
        ("proxy", b"", "eof-in-header"),
        ("ctframe", encode_stream(DST, b"payload")[:-1], "eof-in-frame"),
    ],
)
def test_decode_says_why_a_server_would_refuse(source: str, stream: bytes, reason: str) -> None:
    status, found = decoded("--source", source, stdin=stream)
    assert (status, found["error"]) == (1, reason)


def test_decode_without_a_usable_key_file(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.touch(mode=0o600)
    result = run("decode", "--source=proxy", f"--auth-key-file={keys}")
    assert result.returncode == 1
    assert result.stderr.decode().startswith(f"Error: {keys}")
    result = run("decode", "--source=ctframe", f"--auth-key-file={keys}")
    assert result.returncode == 2
    assert b"only PROXY headers can be signed" in result.stderr

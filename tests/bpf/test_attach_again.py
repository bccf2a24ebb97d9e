# SPDX-License-Identifier: MIT
"""Somebody has removed the program: attaching again."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from ctwsgi.wire.auth import KeyRing
from tests.lab.process import Process

from .available import unavailable
from .gateway import DEVICE, Gateway
from .keys import KEYS, key_file

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))


def running(gateway: Gateway, keys: Path) -> Process:
    """`ctwsgi gateway run` with this key file, attached."""
    words = [sys.executable, "-m", "ctwsgi", "gateway", "run", DEVICE]
    process = gateway.lab.gateway.popen([*words, "--auth-key-file", str(keys)])
    process.wait_log("attached")
    return process


def test_the_rotated_key_outlives_a_lost_program(gateway: Gateway, tmp_path: Path) -> None:
    """`run` attaches again with the key that signed last, not with the one that it began with."""
    keys = key_file(tmp_path / "keys", KEYS[7])
    process = running(gateway, keys)
    key_file(keys, *KEYS.values())
    process.signal(signal.SIGHUP)
    process.wait_log("signing with key 3")
    with gateway.listening() as listener:
        gateway.remove("clsact")
        # A file that cannot be read: this SIGHUP only makes it look at once.
        key_file(keys, "3 nonsense")
        process.signal(signal.SIGHUP)
        process.wait_log("the program was gone: attached")
        ring = KeyRing.parse("\n".join(KEYS.values()))
        assert gateway.visit(listener, keys=ring).auth == 3
    assert process.stop() == 0


def test_a_key_that_comes_while_the_program_is_gone(gateway: Gateway, tmp_path: Path) -> None:
    """Nothing is there that could sign with it: it counts from the next attaching on."""
    keys = key_file(tmp_path / "keys", KEYS[7])
    process = running(gateway, keys)
    gateway.command("detach", DEVICE)
    key_file(keys, *KEYS.values())
    process.signal(signal.SIGHUP)
    process.wait_log("the program was gone: attached")
    with gateway.listening() as listener:
        ring = KeyRing.parse("\n".join(KEYS.values()))
        assert gateway.visit(listener, keys=ring).auth == 3
    assert process.stop() == 0

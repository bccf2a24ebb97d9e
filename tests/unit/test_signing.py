# SPDX-License-Identifier: MIT
"""A SIGHUP to a command that signs: the new key, or the old one and a line that says why."""

from __future__ import annotations

import logging

import pytest

from ctwsgi.cli.signing import load_signer, reload_signer
from ctwsgi.wire.auth import KeyFileError

log = logging.getLogger("a.command")


class Refused(Exception):
    pass


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "keys"
    path.touch(0o600)
    path.write_text(f"7 {'ab' * 32}\n3 {'cd' * 32}\n")
    return path


def refuse(key):
    raise Refused("no room")


def test_the_lowest_key_signs(key_file):
    key = load_signer(str(key_file))
    assert key
    assert key.id == 3
    assert load_signer(None) is None


def test_a_new_key_is_taken(key_file, caplog):
    taken = []
    with caplog.at_level(logging.INFO):
        reload_signer(str(key_file), taken.append, log)
    assert [key.id for key in taken] == [3]
    assert caplog.messages == ["SIGHUP: signing with key 3"]


def test_without_a_file_nothing_happens(caplog):
    with caplog.at_level(logging.INFO):
        reload_signer(None, refuse, log)
    assert caplog.messages == ["SIGHUP: no key file to read"]


def test_after_a_failure_the_old_key_stays(key_file, caplog):
    failures = (KeyFileError, Refused)
    reload_signer(str(key_file), refuse, log, failures)
    key_file.chmod(0o644)
    taken = []
    reload_signer(str(key_file), taken.append, log, failures)
    assert taken == []
    refused, readable = caplog.messages
    assert refused == "SIGHUP: the old key stays: no room"
    assert readable.startswith("SIGHUP: the old key stays: ")

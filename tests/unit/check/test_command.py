# SPDX-License-Identifier: MIT
"""`ctwsgi check` itself: what it prints and its exit status, on this machine and in a namespace."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tests.lab import Lab, unavailable
from tests.lab.rules import redirect

CAPTURED = Path(__file__).parent / "rulesets"
CHECK = [sys.executable, "-m", "ctwsgi", "check"]


def check(path, *options):
    """Runs `ctwsgi check` with `path` as PATH."""
    environ = {**os.environ, "PATH": path}
    return subprocess.run(
        [*CHECK, *options], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60
    )


def nft_that(tmp_path, script):
    """A PATH whose first folder has an nft that runs `script`."""
    nft = tmp_path / "nft"
    nft.write_text(f"#!/bin/sh\n{script}\n")
    nft.chmod(stat.S_IRWXU)
    return f"{tmp_path}:{os.environ['PATH']}"


def test_a_missing_guard_is_something_to_do(tmp_path):
    done = check(nft_that(tmp_path, f"cat {CAPTURED}/frames-open.json"))
    assert (done.returncode, done.stderr) == (1, "")
    assert "todo  rules: ctframe, tcp over IPv4 to port 8080 of this host: no guard" in done.stdout
    assert "              tcp dport 8080 ct status ! dnat drop" in done.stdout


def test_all_is_well(tmp_path):
    done = check(nft_that(tmp_path, f"cat {CAPTURED}/frames.json"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "ok    rules: ctframe, tcp over IPv4 to port 8080 of this host: guarded" in done.stdout


def test_rules_that_only_root_may_read(tmp_path):
    done = check(nft_that(tmp_path, "echo 'Operation not permitted' >&2; exit 1"))
    assert done.returncode == 0
    assert "note  rules: cannot be read, run this as root: Operation not permitted" in done.stdout


def test_without_nft(tmp_path):
    done = check(str(tmp_path))
    assert done.returncode == 1
    assert "todo  rules: nft is not here: apt-get install nftables" in done.stdout


@pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))
def test_in_a_namespace_with_rules_of_its_own():
    """The ruleset of the namespace is read: a nat rule that marks no connection."""
    with Lab() as lab, lab.server.rules(redirect(8000)):
        done = lab.server.run(["env", f"PYTHONPATH={ROOT}", *CHECK], check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ok    conntrack: " in done.stdout
    assert "note  rules: none gives a connection ctframe or ctproxy" in done.stdout
